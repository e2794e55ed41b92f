"""What an account says of sources survives the wire; minutes that are not sent are those by default."""

import pytest

from segidx.model.errors import InvalidArgument
from segidx.model.source_settings import SourceSettings
from segidx.v1 import schema_pb2 as pb
from segidx.wire.source_settings import read_source_settings, write_source_settings


@pytest.mark.parametrize("settings", [SourceSettings(), SourceSettings(0, ("a", ".ż.pl")), SourceSettings(-5, ("",))])
def test_what_is_sent_is_read(settings: SourceSettings) -> None:
    message = pb.SourceSettings()
    write_source_settings(settings, message)
    assert read_source_settings(pb.SourceSettings.FromString(message.SerializeToString())) == settings


def test_what_is_not_sent() -> None:
    assert read_source_settings(pb.SourceSettings()) == SourceSettings()
    assert read_source_settings(pb.SourceSettings(order_minutes=0)) == SourceSettings(0)


@pytest.mark.parametrize(
    "settings",
    [SourceSettings(1 << 31), SourceSettings("x"), SourceSettings(1, ("\udc00",)), SourceSettings(1, (1,))],  # type: ignore[arg-type]
)
def test_what_cannot_be_sent(settings: SourceSettings) -> None:
    with pytest.raises(InvalidArgument, match="source settings cannot be sent"):
        write_source_settings(settings, pb.SourceSettings())
