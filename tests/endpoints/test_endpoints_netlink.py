"""Changes of the network, as this machine's kernel tells them."""

import errno
import os
import shutil
import socket
import subprocess

import pytest
import trio
import trio.testing

from kioskd.endpoints.netlink import SETTLE_S, watch_network

ADDRESS = "127.0.0.77/8"
GUARD_S = 60.0  # against hanging for ever; the kernel tells at once


async def ip(*arguments):
    """The exit status of `ip`."""
    command = ["ip", "address", *arguments, ADDRESS, "dev", "lo"]
    return (
        await trio.run_process(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ).returncode


class Changes:
    """Counts them; `next` waits for one more."""

    def __init__(self):
        self.count = 0
        self.news = trio.Event()

    def __call__(self):
        self.count += 1
        self.news.set()
        self.news = trio.Event()


@pytest.fixture
async def loopback():
    """An interface whose addresses may be changed."""
    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("this platform has no netlink")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("adding an address takes root and the command ip")
    if await ip("add") != 0:
        pytest.skip("an address can't be added here (CAP_NET_ADMIN?)")
    await ip("delete")
    yield
    await ip("delete")


async def test_an_address_that_comes_and_one_that_goes_are_told(loopback, nursery):
    changes = Changes()
    nursery.start_soon(watch_network, changes)
    await trio.testing.wait_all_tasks_blocked()
    for command in ("add", "delete"):
        news = changes.news
        with trio.fail_after(GUARD_S):
            assert await ip(command) == 0
            await news.wait()


class Kernel:
    """A netlink socket that tells what the test says."""

    def __init__(self):
        self._tell, self._messages = trio.open_memory_channel(100)
        self.groups = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._tell.close()

    async def bind(self, address):
        self.groups = address[1]

    async def recv(self, _):
        message = await self._messages.receive()
        if isinstance(message, OSError):
            raise message
        return message

    def tell(self, message=b"news"):
        self._tell.send_nowait(message)


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(socket, "AF_NETLINK", socket.AF_INET, raising=False)
    monkeypatch.setattr(socket, "NETLINK_ROUTE", 0, raising=False)
    monkeypatch.setattr(socket, "SOCK_RAW", socket.SOCK_DGRAM)
    monkeypatch.setattr(trio.socket, "from_stdlib_socket", lambda opened: opened.close() or kernel)
    return kernel


async def test_what_is_told_in_one_burst_is_one_change(autojump_clock, kernel, nursery):
    changes = Changes()
    nursery.start_soon(watch_network, changes)
    await trio.sleep(60)
    assert kernel.groups and changes.count == 0
    for burst in (1, 2):
        for _ in range(5):
            kernel.tell()
            await trio.sleep(SETTLE_S / 10)
        await trio.sleep(2 * SETTLE_S)
        assert changes.count == burst


async def test_changes_too_many_to_be_told_one_by_one_are_news_too(autojump_clock, kernel, nursery):
    changes = Changes()
    nursery.start_soon(watch_network, changes)
    kernel.tell(OSError(errno.ENOBUFS, "No buffer space available"))
    await trio.sleep(1)
    assert changes.count == 1
    kernel.tell()
    await trio.sleep(1)
    assert changes.count == 2


async def test_a_kernel_that_tells_no_more_ends_the_watch(autojump_clock, kernel):
    kernel.tell(OSError(errno.EBADF, "Bad file descriptor"))
    await watch_network(Changes())


async def test_where_there_is_no_netlink_nobody_watches(autojump_clock, monkeypatch):
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    await watch_network(Changes())


async def test_where_netlink_is_forbidden_nobody_watches(autojump_clock, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    await watch_network(Changes())
