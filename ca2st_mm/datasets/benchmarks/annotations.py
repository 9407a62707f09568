# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The words the preparers speak: clips, forms of files, benchmarks.

A benchmark's annotations come in several forms (the official one, lists of
the CA2ST authors, ...).  A :class:`Form` knows one of them by its content and
turns it into clips; nothing here touches a video.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .source import Source


class Clip(NamedTuple):
    """One clip.

    Attributes:
        id: The name that the annotations give it.
        labels: Class indices, in the order of ``Benchmark.classes``; empty
            in a test set without public labels.
        names: What its own, trimmed file may be called, best first; folders
            and extension may be left out.
        video: What the untrimmed video is called, or names to try.
        start: First second in the untrimmed video, if known.
        end: Last second in the untrimmed video, if known.
    """

    id: str
    labels: tuple[int, ...]
    names: tuple[str, ...]
    video: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None


class LeftOut(NamedTuple):
    """A clip that misses a file or that a rule leaves out, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Annotations:
    """What one annotation file says about one split.

    Attributes:
        clips: Those that a model can be trained or tested on.
        left_out: Those that a rule of the benchmark leaves out.
        rows: Rows of the split in the file, which official counts count;
            by default both of the above.
    """

    clips: list[Clip]
    left_out: list[LeftOut] = field(default_factory=list)
    rows: int | None = None

    @property
    def num_rows(self) -> int:
        """Rows of the split in the file."""
        if self.rows is not None:
            return self.rows
        return len(self.clips) + len(self.left_out)


class Task(NamedTuple):
    """What to read: the split, and the class names of each label column."""

    split: str
    names: Mapping[str, list[str]]


@dataclass(frozen=True)
class Form:
    """One form in which the annotations of a benchmark come.

    Attributes:
        title: For the log.
        matches: Tells from the content whether a file has this form.
        read: From file and task to annotations.
        counts: Rows of each split as published; a split that is not here
            has a count unknown to us.
    """

    title: str
    matches: Callable[[Source], bool]
    read: Callable[[Source, Task], Annotations]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: As in ``tools/data/<name>``.
        title: As its authors write it.
        folder: Where our configs expect it below ``data/``.
        classes: Label column -> number of classes, as published.
        class_files: Label column -> file in ``classes/``.
        lists: Split -> file names to look for, best first.
        forms: Known forms, tried in this order.
        untrimmed: Whether clips are parts of longer videos, so that one has
            to say which of the two one has.
    """

    name: str
    title: str
    folder: str
    classes: Mapping[str, int]
    class_files: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    forms: tuple[Form, ...]
    untrimmed: bool = False
