"""The page in a real browser: every control, bad files, and a server that lives on."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver

import glow_tf
from tests.random_weights import random_glow, random_images

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.slow
PATIENCE = 60  # seconds; a machine may be slow
TOO_LARGE = 17 * 2**20


@pytest.fixture(scope="module")
def glow():
    return random_glow(ycond=True, n_y=3, image_size=8, channels=1, seed=3)


@pytest.fixture(scope="module")
def folder(glow, tmp_path_factory) -> Path:
    """export/, attributes.npz, and files to upload."""
    from glow_tf.latents.files import Attributes, write_attributes

    folder = tmp_path_factory.mktemp("demo")
    glow_tf.export_saved_model(glow, folder / "export")
    directions = np.random.default_rng(0).normal(0, 0.5, [2, glow.config.dimensions]).astype(np.float32)
    counts = np.array([3, 3])
    found = Attributes(("round", "tall"), directions, counts, counts, directions[0], 0, glow.fingerprint())
    write_attributes(folder / "attributes.npz", found)
    for name, x in zip("ab", random_images(glow.config, 2)[..., 0], strict=True):
        Image.fromarray(x).save(folder / f"{name}.png")
    (folder / "bad.png").write_bytes(b"no picture at all")
    (folder / "large.png").write_bytes((folder / "a.png").read_bytes() + bytes(TOO_LARGE))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """Of the page, served by the command; it must end well, whatever was done to it."""
    command = [sys.executable, "-m", "glow_tf", "demo", "export", "--attributes", "attributes.npz", "--port", "0"]
    root = Path(__file__).resolve().parents[2]
    with (
        (folder / "err").open("w") as err,
        subprocess.Popen(
            [*command, "--images", "a.png", "b.png"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env={"PATH": "", "PYTHONPATH": str(root), "HOME": str(folder), "TMPDIR": str(folder)},
        ) as server,
    ):
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            assert line, (folder / "err").read_text()
            yield re.search(r"http://\S+", line)[0]  # type: ignore[index]
            assert server.poll() is None
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE)
    assert server.returncode == 0
    assert "Traceback" not in (folder / "err").read_text()
    assert not list(folder.glob("glow_tf-demo-*"))  # what visitors sent is gone


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver (apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for switch in f"{switches} disable-component-update disable-sync window-size=1280,1300".split():
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page's parts, by the ids that page.py gives them."""

    def __init__(self, driver: Any, address: str):
        self.driver = driver
        driver.get(address)
        self.until(lambda: len(self.all("#gallery button.thumbnail-item")) == 2)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def text(self, name: str) -> str:
        return self.all(f"#{name}")[0].text

    def until(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except Exception as error:  # parts that are just being replaced
                last: Any = error
            else:
                last = None
            time.sleep(0.1)
        pytest.fail(f"waited {PATIENCE} s in vain; {last}; the page says {self.all('body')[0].text!r}")

    def picture(self, name: str) -> np.ndarray | None:
        """The pixels that are shown, [H, W]."""
        sources = [image.get_attribute("src") for image in self.all(f"#{name} img")]
        return None if not sources else pixels(sources[0])

    def upload(self, name: str, path: Path) -> None:
        self.until(lambda: self.all(f"#{name} input[type=file]"))[0].send_keys(str(path))

    def slide(self, selector: str, value: float, number: int = 0) -> None:
        """As dragging does: an input event, of one of the sliders there."""
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.all(f"{selector} input[type=range]")[number],
            f"{value:.2f}",
        )

    def shows(self, name: str, wanted: np.ndarray) -> None:
        """Waits until a picture is this, but for values that rounding moves over the edge of a bin."""
        self.until(lambda: (seen := self.picture(name)) is not None and (seen != wanted).mean() < 0.02)

    def messages(self) -> str:
        return " ".join(element.text for element in self.all(".toast-wrap, [data-testid='toast-body']"))


def pixels(source: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        return np.asarray(image)


@pytest.fixture
def page(browser, address) -> Page:
    return Page(browser, address)


@pytest.fixture(scope="module")
def latents(glow, folder) -> dict[str, np.ndarray]:
    x = {name: np.asarray(Image.open(folder / f"{name}.png"))[None, ..., None] for name in "ab"}
    return {name: np.asarray(glow_tf.flatten_latents(glow.encode(value, [0])))[0] for name, value in x.items()}


def decoded(glow, flat: np.ndarray) -> np.ndarray:
    return glow.decode(glow_tf.unflatten_latents(glow.config, flat[None].astype(np.float32)), [0])[0, ..., 0].numpy()


def test_a_visit(page, glow, folder, latents, address):
    """Upload, reconstruction, slider, blend, saving, reset; and nothing is asked of the internet."""
    from glow_tf.latents.files import read_attributes

    page.slide("#blend", 0.5)
    page.until(lambda: "First open a picture" in page.text("latency"))
    page.slide("#blend", 0)
    page.upload("upload", folder / "a.png")
    original = np.asarray(Image.open(folder / "a.png"))
    for name in ("original", "reconstruction", "result"):
        page.shows(name, original)
    assert "The centre of the picture." in page.text("note")
    assert re.search(r"\d+ ms for this picture", page.text("latency"))

    direction = read_attributes(folder / "attributes.npz", glow.config.dimensions).direction("tall")
    assert [slider.text.splitlines()[0] for slider in page.all(".attribute")] == ["round", "tall"]
    for alpha in np.linspace(-1, 1.2, 12):  # a drag; the last position counts
        page.slide(".attribute", alpha, 1)
    moved = decoded(glow, latents["a"] + 1.2 * direction)
    assert (moved != original).mean() > 0.2
    page.shows("result", moved)

    page.upload("upload-second", folder / "b.png")
    page.shows("second", np.asarray(Image.open(folder / "b.png")))
    page.slide("#blend", 0.5)
    page.shows("result", decoded(glow, 0.5 * latents["a"] + 0.5 * latents["b"] + 1.2 * direction))
    (link,) = page.all("#result a.save")
    assert link.get_attribute("download") == "result.png"
    np.testing.assert_array_equal(pixels(link.get_attribute("href")), page.picture("result"))
    page.driver.save_screenshot(str(folder / "page.png"))

    page.all("#reset")[0].click()
    page.shows("result", original)
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = {request["request"]["url"] for request in requests if request["documentURL"].startswith(address)}
    assert {url for url in asked if not url.startswith((f"{address}/", "data:"))} == set()
    assert f"{address}/" in asked
    assert not [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_picking_and_sampling(page, glow, folder):
    page.all("#gallery button.thumbnail-item")[1].click()
    page.shows("original", np.asarray(Image.open(folder / "b.png")))
    page.all("#target input")[1].click()
    page.all("#gallery button.thumbnail-item")[0].click()
    page.shows("second", np.asarray(Image.open(folder / "a.png")))
    page.all("#target input")[0].click()
    page.slide("#temperature", 0.5)
    page.all("#sample")[0].click()
    page.until(lambda: "6 samples" in page.text("note"))  # two of each of the three classes
    page.until(lambda: len(page.all("#gallery button.thumbnail-item")) == 6)
    page.all("#gallery button.thumbnail-item")[4].click()
    page.shows("original", glow.sample(6, [0, 1, 2, 0, 1, 2], 0.5, seed=0)[4, ..., 0].numpy())


def test_files_that_are_no_pictures(page, folder):
    page.upload("upload", folder / "bad.png")
    page.until(lambda: "This file is no PNG or JPEG image." in page.messages())
    assert page.picture("original") is None
    page.driver.refresh()
    page.upload("upload", folder / "large.png")
    page.until(lambda: "size" in page.messages().lower())
    assert page.picture("original") is None
    page.driver.refresh()
    page.upload("upload", folder / "a.png")  # the server lives on
    page.shows("original", np.asarray(Image.open(folder / "a.png")))


def test_requests_of_strangers(address, folder):
    """Without the browser: other hosts and pages, bodies that are too large, other files, URLs, unknown calls."""
    host = address.removeprefix("http://")

    def answer(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        headers = {"Host": host, "Content-Type": "application/json", **headers}
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it does not wait for all of the body
                connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def join(**changed: Any) -> bytes:
        """A call of the first function, which shows the picture: state, state, blend, two attributes."""
        call = {"data": [None, None, None, 0, 0, 0], "fn_index": 0, "session_hash": "stranger", **changed}
        return json.dumps(call).encode()

    queue = "/gradio_api/queue/join"
    assert answer("POST", queue, join())[0] == 200  # or the others would show nothing
    assert answer("GET", "/", Host="evil.example")[0] == 400
    assert answer("POST", queue, join(), Origin="http://evil.example")[0] == 403
    assert answer("POST", queue, join(), Origin=f"http://{host}")[0] == 200

    padding = (b" " * 2**20 for _ in range(20))
    chunks = (chunk for part in ([join()], padding) for chunk in part)
    status, said = answer("POST", queue, chunks, **{"Transfer-Encoding": "chunked"})
    assert (status, "at most 65536 bytes" in said) == (413, True)
    assert answer("POST", "/gradio_api/upload", b"." * TOO_LARGE)[0] == 413
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    files = (part for _ in range(2) for part in (head, *[b"." * 2**20] * 9, b"\r\n"))  # each is small enough
    form = {"Transfer-Encoding": "chunked", "Content-Type": "multipart/form-data; boundary=b"}
    status, said = answer("POST", "/gradio_api/upload", files, **form)
    assert (status, "this request may have at most" in said) == (413, True)

    elsewhere = {"path": "https://evil.example/huge", "meta": {"_type": "gradio.FileData"}}
    for data in ([elsewhere, False], [None, None, None, [{"deep": elsewhere}], 0, 0]):
        status, said = answer("POST", queue, join(data=data))
        assert (status, "nothing is fetched from elsewhere" in said) == (403, True)
    for path in ("/gradio_api/file=https://evil.example/", "/gradio_api/file%3Dhttps%3A%2F%2Fevil.example/"):
        assert "nothing is fetched from elsewhere" in answer("GET", path)[1]

    assert answer("GET", f"/gradio_api/file={folder / 'attributes.npz'}")[0] == 403
    unqueued = answer("POST", "/gradio_api/run/predict", join(session_hash=None))
    assert (unqueued[0], "does not accept direct HTTP POST" in unqueued[1]) == (404, True)
    assert answer("GET", "/")[0] == 200
