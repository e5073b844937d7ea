"""One session over one socket: the vendor's blocking ``Session``, on the standard library's sockets."""

from smarkets_pool.session.blocking import Frame, Session
from smarkets_pool.session.settings import SessionSettings
from smarkets_pool.session.tcp import SessionSocket

__all__ = ["Frame", "Session", "SessionSettings", "SessionSocket"]
