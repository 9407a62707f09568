# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The ten benchmarks by name."""

from . import (
    activitynet,
    epic_kitchens_100,
    epic_sounds,
    hd_epic,
    hd_epic_sounds,
    kinetics400,
    kinetics_sound,
    something_something_v2,
    ucf101,
    vggsound,
)

BENCHMARKS = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        activitynet,
        epic_kitchens_100,
        epic_sounds,
        hd_epic,
        hd_epic_sounds,
        kinetics400,
        kinetics_sound,
        something_something_v2,
        ucf101,
        vggsound,
    )
}
