"""The forms in which people say where their Redis is, and the slots of a cluster."""

from __future__ import annotations

import pytest

from services.common.redis_connection import RedisUrl
from services.common.redis_masters import Masters, slot_of


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p%40@h:1/2?ssl_ca_certs=/ca.pem", "unix:///a/redis.sock?db=3", "unix://:secret@/a"]
)
def test_a_single_server_is_what_redis_py_takes(url: str) -> None:
    assert RedisUrl.parse(url) == RedisUrl("standalone", (url,))


def test_sentinels_have_their_own_port_and_password_and_tell_of_a_server() -> None:
    read = RedisUrl.parse("redis+sentinel://u:p%2F@a:1,b/main/2?sentinel_password=x%2Fy&socket_keepalive=true")
    assert (read.topology, read.service) == ("sentinel", "main")
    assert read.entrances == (
        "redis://:x%2Fy@a:1/?socket_keepalive=true",
        "redis://:x%2Fy@b:26379/?socket_keepalive=true",
    )
    assert read.server("10.0.0.1", 6379) == "redis://u:p%2F@10.0.0.1:6379/2?socket_keepalive=true"


def test_a_cluster_has_nodes_that_are_all_asked_the_same_way() -> None:
    read = RedisUrl.parse("rediss+cluster://:p@a,[::1]:7?ssl_check_hostname=false")
    assert read.topology == "cluster"
    assert read.entrances == (
        "rediss://:p@a:6379/?ssl_check_hostname=false",
        "rediss://:p@[::1]:7/?ssl_check_hostname=false",
    )
    assert read.server("fe80::1", 7001) == "rediss://:p@[fe80::1]:7001/?ssl_check_hostname=false"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redi://h",
        "http://h:1",
        "redis+other://h",
        "foo+cluster://h",
        "redis://h:se-cret",
        "redis+sentinel://h:1",
        "redis+sentinel://h:1/",
        "redis+sentinel://h,/main",
        "redis+sentinel://h/main/one",
        "redis+sentinel://h/main/1/2",
        "redis+sentinel://h/main?db=x",
        "redis+cluster://",
        "redis+cluster://h/1",
        "redis+cluster://:se/cret@h",
    ],
)
def test_what_is_no_url_of_redis_is_refused_without_telling_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"the URL of Redis can't be read.* expected redis://") as caught:
        RedisUrl.parse(url)
    assert "cret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    for url in ("redis://:secret@h", "redis+sentinel://:secret@h/main", "redis+cluster://:secret@h"):
        assert "secret" not in repr(RedisUrl.parse(url))


@pytest.mark.parametrize(
    ("key", "slot"),
    [("123456789", 12_739), ("foo", 12_182), ("penstock:{foo}:1:lane:0", 12_182), ("{}foo", slot_of("{}foo")), ("", 0)],
)
def test_slots_are_those_of_redis(key: str, slot: int) -> None:
    assert slot_of(key) == slot


def test_keys_of_a_model_are_looked_up_by_range() -> None:
    masters = Masters((5_000, 12_181, 12_182), ("a", "", "c"))
    assert masters.of("penstock:{foo}:1:leases") == "c"
    assert masters.of("") == "a"
    assert masters.of("123456789") == "", "nobody serves what comes after"
    assert Masters((16_383,), ("all",)).of("foo") == "all"
    assert Masters((), ()).of("foo") == ""
