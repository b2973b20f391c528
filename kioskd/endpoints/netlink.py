"""When the network comes, goes or changes: the kernel tells it on a netlink socket (Linux; elsewhere nobody does).

Source: rtnetlink(7). What the messages say doesn't matter: that an address or a route has changed is news enough.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
MESSAGE_BYTES = 65536
SETTLE_S = 0.1  # an address, its routes and the link itself are told one by one


async def watch_network(on_change: Callable[[], None]) -> None:
    """Call `on_change` after each change, until cancelled. Where the kernel can't tell (any more), it returns."""
    try:
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with trio.socket.from_stdlib_socket(news) as changes:
            await changes.bind((0, GROUPS))
            while True:
                await _next(changes)
                with trio.move_on_after(SETTLE_S):
                    while True:
                        await _next(changes)
                on_change()
    except (OSError, AttributeError) as error:
        log.debug("changes of the network can't be watched: %s", error)


async def _next(changes: trio.socket.SocketType) -> None:
    try:
        await changes.recv(MESSAGE_BYTES)
    except OSError as error:
        if error.errno != errno.ENOBUFS:  # so many changes that some were lost, which doesn't matter
            raise
