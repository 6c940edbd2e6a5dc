"""Sockets that the launcher keeps open for a part."""

from __future__ import annotations

import os
import socket

import pytest

from penstock.launcher.listeners import Listeners
from tests.support.ports import free_port


def process(listeners: Listeners) -> socket.socket:
    """The socket as a process has it that was given it."""
    return socket.socket(fileno=os.dup(listeners.descriptors()["http"]))


def test_connections_wait_between_two_processes_and_are_refused_once_given_up() -> None:
    address = "127.0.0.1", free_port()
    listeners = Listeners({"http": address})
    with process(listeners) as first:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        first.listen()
    with socket.create_connection(address) as waiting, process(listeners) as second:
        with second.accept()[0] as taken:
            taken.sendall(b"!")
        assert waiting.recv(1) == b"!"

    with socket.create_connection(address) as waiting:
        listeners.close()
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    with process(listeners) as third:
        assert third.getsockname() == address
    listeners.close()


def test_a_taken_port_is_left_to_the_part_to_complain_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = Listeners({"grpc": ("127.0.0.1", free_port()), "http": taken.getsockname()})
        assert listeners.descriptors() == {}
