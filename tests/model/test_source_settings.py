"""What an account may say of where visits and orders come from."""

import pytest

from segidx.model.errors import InvalidArgument
from segidx.model.source_settings import MAX_ORDER_MINUTES, MAX_OWN_HOSTS, SourceSettings, source_settings


def test_settings() -> None:
    assert source_settings() == SourceSettings() == SourceSettings(30, ())
    hosts = ["Shop.Example", ".pay.example", "shop.example", "*.cdn.example", "żółw.pl", "localhost"]
    assert source_settings(0, hosts) == SourceSettings(
        0, ("shop.example", ".pay.example", "*.cdn.example", "żółw.pl", "localhost")
    )
    assert source_settings(MAX_ORDER_MINUTES).order_minutes == MAX_ORDER_MINUTES
    assert len(source_settings(1, [f"{n}.example" for n in range(MAX_OWN_HOSTS)]).own_hosts) == MAX_OWN_HOSTS


@pytest.mark.parametrize("minutes", [-1, MAX_ORDER_MINUTES + 1, True, "30", 1.5, None])
def test_minutes_that_cannot_be(minutes: object) -> None:
    with pytest.raises(InvalidArgument, match="order_minutes is") as caught:
        source_settings(minutes)  # type: ignore[arg-type]
    assert caught.value.metadata == {"setting": "order_minutes"}


@pytest.mark.parametrize(
    "hosts",
    [
        "shop.example",
        [""],
        ["https://shop.example"],
        ["shop.example/x"],
        ["shop.example:80"],
        ["a b"],
        ["."],
        ["a..b"],
        ["shop.example."],
        ["a.*.b"],
        [3],
        ["x" * 254],
        [f"{n}.example" for n in range(MAX_OWN_HOSTS + 1)],
    ],
)
def test_hosts_that_cannot_be(hosts: object) -> None:
    with pytest.raises(InvalidArgument, match=r"own.host") as caught:
        source_settings(30, hosts)  # type: ignore[arg-type]
    assert caught.value.metadata == {"setting": "own_hosts"}
