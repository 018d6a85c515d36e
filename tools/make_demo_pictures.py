"""Takes the pictures of docs/demo.md: python tools/make_demo_pictures.py EXPORT_DIR [...].

Needs Chromium, its driver, selenium and Pillow; the font Inter, for the same look; and a machine
without other work, for the latency in the pictures.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flaxrec.demo import content, litertjs, page  # noqa: E402
from tests.support import browsers  # noqa: E402

# Name, width, height of the picture (0: the whole page), pixels for each point, colour scheme.
PICTURES = [
    ("desktop", 1280, 0, 1.5, "light"),
    ("dark", 1280, 0, 1.5, "dark"),
    ("phone", 390, 1350, 2, "light"),
]
BURST = 3  # seconds to wait until the latency is measured


def main() -> None:
    """Builds the page, opens it three times, writes docs/images/demo_*.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("export_dir", nargs="+", help="exports of MovieLens-1M")
    parser.add_argument("--picks", default="260,1196,589,1240", help="ids, oldest first")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browsers.chromium() as driver:
        file = Path(folder) / "page.html"
        built = page.build(content.collect(arguments.export_dir), litertjs.load())
        file.write_text(built, encoding="utf-8", newline="\n")
        for name, width, height, scale, scheme in PICTURES:
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browsers.visit(driver, file.as_uri(), (width, 900))
            browsers.do(driver, "await flaxrecDemo.setPicks(given[0])", arguments.picks.split(","))
            time.sleep(BURST)
            tall = height or browsers.do(driver, "return document.documentElement.scrollHeight")
            metrics = {"width": width, "height": tall, "deviceScaleFactor": scale}
            metrics["mobile"] = width < 600
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            time.sleep(0.5)
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
            few = picture.quantize(256, dither=Image.Dither.NONE)
            few.save(ROOT / "docs" / "images" / f"demo_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
