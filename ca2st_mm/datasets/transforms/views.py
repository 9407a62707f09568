# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""How many views a sample has, and in which order.

A view is one clip under one spatial crop.  ``FormatShape('NCTHW')`` lays
views out crop by crop: view ``v`` is clip ``v % num_clips`` under crop
``v // num_clips``.  Sound follows the same order.
"""


def count_views(results: dict) -> tuple[int, int]:
    """Number of clips and of spatial crops of a sample.

    Args:
        results: The sample, before or after ``FormatShape``.

    Returns:
        ``(num_clips, num_crops)``; (1, 1) for sound without frames.
    """
    num_clips = results.get('num_clips', 1)
    imgs = results.get('imgs')
    if imgs is None or not len(imgs):
        return num_clips, 1
    if 'input_shape' in results:  # after FormatShape: (views, C, T, H, W)
        return num_clips, max(len(imgs) // num_clips, 1)
    return num_clips, max(len(imgs) // (num_clips * results['clip_len']), 1)
