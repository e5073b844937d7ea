"""The protobuf schema: ``eto.proto``, ``seto.proto`` and what ``make proto`` makes of them."""
