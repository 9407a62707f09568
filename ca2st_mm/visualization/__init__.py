# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
