# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Take `web_page.png` of a page that is served.

    python tools/demo_web.py --window 0.5 &
    python docs/figures/draw_web_page.py http://127.0.0.1:7860

(a phone: `... http://127.0.0.1:7860 phone.png 390`)

needs `pip install playwright` and Chromium.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

OUT = Path(__file__).with_name('web_page.png')


def main() -> None:
    """Open the page, choose the first example, wait for all answers."""
    url, *rest = sys.argv[1:]
    out, width = [*rest, *[str(OUT), '1120'][len(rest) :]]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which('chromium'), args=['--no-sandbox']
        )
        page = browser.new_page(viewport=dict(width=int(width), height=900))
        page.set_default_timeout(300_000)  # milliseconds
        page.goto(url)
        page.click('#examples button')
        page.wait_for_selector('#attention img')
        page.wait_for_timeout(500)  # until the video shows a frame
        page.screenshot(path=out, full_page=True)
        browser.close()
    with Image.open(out) as picture:
        small = picture.convert('RGB').quantize(256)
    small.save(out, optimize=True)


if __name__ == '__main__':
    main()
