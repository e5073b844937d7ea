"""The betting layer's schema: ``seto.OrderCreate``, ``seto.SIDE_BUY``, ... (``wire/schema/seto.proto``)."""

from smarkets_pool.wire.schema.seto_pb2 import *  # noqa: F403
