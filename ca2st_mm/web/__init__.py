# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A page in the browser to try a model on clips of one's own."""
