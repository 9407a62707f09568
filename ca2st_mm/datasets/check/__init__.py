# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Checking a data set before a run: files, audio, labels, splits."""
