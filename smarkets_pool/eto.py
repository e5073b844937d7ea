"""The session layer's schema: ``eto.LOGOUT_NONE``, ``eto.Payload``, ... (see ``wire/schema/eto.proto``)."""

from smarkets_pool.wire.schema.eto_pb2 import *  # noqa: F403
