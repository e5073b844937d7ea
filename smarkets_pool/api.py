"""What the vendor's ``smarkets.streaming_api.api`` offered, under our name."""

from smarkets_pool import eto, seto
from smarkets_pool.client import StreamingAPIClient
from smarkets_pool.exceptions import (
    ConnectionError,
    DecodeError,
    InvalidCallbackError,
    ParseError,
    SocketDisconnected,
)
from smarkets_pool.session import Session, SessionSettings

__all__ = [
    "ConnectionError",
    "DecodeError",
    "GOOD_TIL_CANCELLED",
    "IMMEDIATE_OR_CANCEL",
    "InvalidCallbackError",
    "ParseError",
    "SIDE_BID",
    "SIDE_OFFER",
    "Session",
    "SessionSettings",
    "SocketDisconnected",
    "StreamingAPIClient",
    "eto",
    "seto",
]

SIDE_BID = seto.SIDE_BUY
SIDE_OFFER = seto.SIDE_SELL
GOOD_TIL_CANCELLED = seto.GOOD_TIL_CANCELLED
IMMEDIATE_OR_CANCEL = seto.IMMEDIATE_OR_CANCEL
