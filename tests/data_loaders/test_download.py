from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading

import numpy as np
import pytest

import data_loaders
from data_loaders import cifar10, mnist
from data_loaders.download import Download
from data_loaders.extract import extract_files


@pytest.fixture
def server(tmp_path):
    """(folder, url) of a web server, and the names it was asked for."""
    folder = tmp_path / "www"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/", asked
        httpd.shutdown()
        thread.join()


@pytest.fixture
def keras(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "datasets"


def of(data: bytes, url: str) -> Download:
    return Download(url, hashlib.sha256(data).hexdigest(), len(data))


def test_mnist_is_downloaded_once_and_whole(server, keras, write_mnist, monkeypatch):
    folder, url, asked = server
    data = (write_mnist(5, 3) / "mnist.npz").read_bytes()
    (folder / "mnist.npz").write_bytes(data)
    monkeypatch.setattr(mnist, "DOWNLOAD", of(data, url + "mnist.npz"))
    for _ in range(2):
        assert data_loaders.load("mnist").n_train == 5
    assert asked == ["/mnist.npz"]
    assert (keras / "mnist.npz").read_bytes() == data


def test_cifar10_is_downloaded_and_unpacked(server, keras, write_cifar10, monkeypatch):
    folder, url, asked = server
    source = write_cifar10(3) / "cifar-10-batches-py"
    (source / "batches.meta").write_bytes(b"meta")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(source, "cifar-10-batches-py")
    (folder / "c.tar.gz").write_bytes(buffer.getvalue())
    monkeypatch.setattr(cifar10, "DOWNLOAD", of(buffer.getvalue(), url + "c.tar.gz"))
    for _ in range(2):
        assert data_loaders.load("cifar10").n_train == 15
    assert asked == ["/c.tar.gz"]
    assert sorted(os.listdir(keras / "cifar-10-batches-py")) == sorted(os.listdir(source))


@pytest.mark.parametrize("change", ["flipped", "short", "long"])
def test_another_content_is_refused_and_leaves_nothing(server, tmp_path, change):
    folder, url, _ = server
    data = os.urandom(5000)
    served = {"flipped": data[:-1] + b"!", "short": data[:-1], "long": data + bytes(10**6)}[change]
    (folder / "file").write_bytes(served)
    with pytest.raises(data_loaders.DataError, match="not the expected file"):
        of(data, url + "file").fetch(str(tmp_path / "cache" / "file"))
    assert os.listdir(tmp_path / "cache") == ["file.lock"]


def test_errors_say_what_to_do(server, tmp_path, keras, monkeypatch):
    _, url, _ = server
    with pytest.raises(data_loaders.DataError, match=r"Cannot download .*data_dir"):
        of(b"", url + "missing").fetch(str(tmp_path / "file"))
    offline = Download("http://127.0.0.1:9/x", "", 1)  # nothing listens there
    for module in (mnist, cifar10):
        monkeypatch.setattr(module, "DOWNLOAD", offline)
        with pytest.raises(data_loaders.DataError, match=r"Cannot download .*data_dir"):
            data_loaders.load(module.__name__.split(".")[-1])


def test_what_another_process_downloaded_meanwhile_is_used(tmp_path):
    (tmp_path / "file").write_bytes(b"there")
    assert Download("http://127.0.0.1:9/x", "", 1).fetch(str(tmp_path / "file"))


def test_many_at_once_download_once(server, tmp_path):
    folder, url, asked = server
    data = os.urandom(100_000)
    (folder / "file").write_bytes(data)
    path = str(tmp_path / "cache" / "file")
    threads = [threading.Thread(target=of(data, url + "file").fetch, args=[path]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["/file"]
    with open(path, "rb") as file:
        assert file.read() == data


def test_only_named_regular_files_leave_an_archive(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, kind, size in (
            ("good", tarfile.REGTYPE, 3),
            ("../evil", tarfile.REGTYPE, 3),
            ("link", tarfile.SYMTYPE, 0),
            ("large", tarfile.REGTYPE, 200),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, size, "/etc/passwd"
            tar.addfile(member, io.BytesIO(bytes(size)))
    archive = str(tmp_path / "a.tar.gz")
    extract_files(archive, ["good"], str(tmp_path / "out"), limit=100)
    assert os.listdir(tmp_path / "out") == ["good"]
    for name in ("link", "large", "missing"):
        with pytest.raises(data_loaders.DataError, match=name):
            extract_files(archive, ["good", name], str(tmp_path / "out2"), limit=100)
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(data_loaders.DataError, match="Cannot unpack"):
        extract_files(str(tmp_path / "cut.tar.gz"), ["large"], str(tmp_path / "out3"), limit=999)
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "cut.tar.gz", "out"]


def test_the_addresses_are_those_of_keras():
    keras_mnist = pytest.importorskip("keras.src.datasets.mnist")
    keras_cifar10 = pytest.importorskip("keras.src.datasets.cifar10")
    for module, ours in ((keras_mnist, mnist.DOWNLOAD), (keras_cifar10, cifar10.DOWNLOAD)):
        source = open(module.__file__).read()
        assert ours.sha256 in source
        assert ours.url in source or (ours.url.rsplit("/", 1)[0] + "/") in source
    assert np.log10(cifar10.DOWNLOAD.size) > 8
