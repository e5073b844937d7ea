"""The compiled schema and its text against every row of ``tests/data/schema.tsv``, in both directions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

import smarkets_pool.wire.schema
from smarkets_pool import eto, seto
from smarkets_pool.wire.schema import eto_pb2, seto_pb2

SCHEMA_TSV = Path(__file__).parents[1] / "data" / "schema.tsv"
PROTO_FOLDER = Path(smarkets_pool.wire.schema.__file__).parent
ROWS = 464

LAYERS: dict[str, ModuleType] = {"eto": eto_pb2, "seto": seto_pb2}
FACADES: dict[str, ModuleType] = {"eto": eto, "seto": seto}

by_layer = pytest.mark.parametrize("layer", sorted(LAYERS))


class Row(NamedTuple):
    """One line of the table; a dash stands for "has none"."""

    package: str
    kind: str
    type_name: str
    entry_name: str
    number: str
    label: str
    entry_type: str
    default: str


def table() -> list[Row]:
    """The rows of the table behind its title line."""
    title, *lines = SCHEMA_TSV.read_text(encoding="utf-8").splitlines()
    assert tuple(title.split("\t")) == Row._fields
    return [Row(*line.split("\t")) for line in lines]


# --- the same rows, read off the descriptors -----------------------------------------------------


def file_of(layer: str) -> FileDescriptor:
    """The descriptor of one layer's file."""
    descriptor: FileDescriptor = LAYERS[layer].DESCRIPTOR
    return descriptor


def proto_of(layer: str) -> FileDescriptorProto:
    """The same as data, with everything the compiler wrote down."""
    proto = FileDescriptorProto()
    file_of(layer).CopyToProto(proto)
    return proto


def own_name(full_name: str) -> str:
    """``smarkets_pool.seto.Side`` -> ``seto.Side``, as the table writes it."""
    prefix, _, rest = full_name.partition(".")
    assert prefix == "smarkets_pool"
    return rest


def label_of(field: FieldDescriptor) -> str:
    """The word that stands before the field in the schema's text."""
    if field.is_repeated:
        return "repeated"
    return "required" if field.is_required else "optional"


def type_of(field: FieldDescriptor) -> str:
    """The field's type as the table writes it."""
    if field.message_type is not None:
        return own_name(field.message_type.full_name)
    if field.enum_type is not None:
        return own_name(field.enum_type.full_name)
    return FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name[5:].lower()


def default_of(field: FieldDescriptor) -> str:
    """The default the schema states, or a dash if it states none."""
    if not field.has_default_value:
        return "-"
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[field.default_value].name)
    return str(field.default_value).lower()


def message_rows(package: str, message: Descriptor) -> Iterator[Row]:
    """One row per field, or one of dashes."""
    for field in message.fields:
        number = str(field.number)
        described = (field.name, number, label_of(field), type_of(field), default_of(field))
        yield Row(package, "message", message.name, *described)
    if not message.fields:
        yield Row(package, "message", message.name, "-", "-", "-", "-", "-")


def enum_rows(package: str, enum: EnumDescriptor) -> Iterator[Row]:
    """One row per value."""
    for value in enum.values:
        yield Row(package, "enum", enum.name, value.name, str(value.number), "-", "-", "-")


def descriptor_rows() -> list[Row]:
    """All rows of both layers."""
    rows: list[Row] = []
    for layer in LAYERS:
        for message in file_of(layer).message_types_by_name.values():
            rows += message_rows(layer, message)
        for enum in file_of(layer).enum_types_by_name.values():
            rows += enum_rows(layer, enum)
    return rows


# --- the same rows, read off the text ------------------------------------------------------------

_BLOCK = re.compile(r"^(message|enum) (\w+) \{(.*?)\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^(required|optional|repeated) ([\w.]+) (\w+) = (\d+)(?: \[default = (\w+)\])?$", re.MULTILINE
)
_VALUE = re.compile(r"^(\w+) = (\d+)$", re.MULTILINE)
_SCALARS = {"bool", "bytes", "double", "string", "uint32", "uint64"}


def proto_text(layer: str) -> str:
    """The schema as written, without its comments."""
    text = (PROTO_FOLDER / f"{layer}.proto").read_text(encoding="utf-8")
    return re.sub(r"//.*", "", text)


def text_rows(layer: str) -> Iterator[Row]:
    """All rows of one layer's text; a statement that is neither field nor value fails."""
    for kind, name, body in _BLOCK.findall(proto_text(layer)):
        statements = [" ".join(statement.split()) for statement in body.split(";") if statement.strip()]
        for statement in statements:
            if kind == "enum":
                value = _VALUE.match(statement)
                assert value is not None, statement
                yield Row(layer, kind, name, value[1], value[2], "-", "-", "-")
                continue
            field = _FIELD.match(statement)
            assert field is not None, statement
            label, type_name, entry, number, default = field.groups(default="-")
            if type_name not in _SCALARS:
                type_name = own_name(type_name) if "." in type_name else f"{layer}.{type_name}"
            yield Row(layer, kind, name, entry, number, label, type_name, default)
        if not statements:
            yield Row(layer, kind, name, "-", "-", "-", "-", "-")


# --- the comparison ------------------------------------------------------------------------------


def test_table_has_all_rows_once() -> None:
    """The table is whole: 464 rows, none of them twice."""
    assert len(table()) == ROWS
    assert len(set(table())) == ROWS


def test_nothing_is_missing_from_the_descriptors() -> None:
    """Every row of the table stands in the compiled schema, exactly so."""
    assert sorted(set(table()) - set(descriptor_rows())) == []


def test_nothing_is_extra_in_the_descriptors() -> None:
    """Every entry of the compiled schema stands in the table, exactly so."""
    assert sorted(set(descriptor_rows()) - set(table())) == []


def test_descriptors_have_464_rows() -> None:
    """The compiled schema has as many entries as the table and none of them twice."""
    assert Counter(descriptor_rows()) == Counter(table())
    assert len(descriptor_rows()) == ROWS


def test_text_says_the_same_as_the_table() -> None:
    """The .proto files, read as text, have the rows of the table and no others."""
    rows = [row for layer in LAYERS for row in text_rows(layer)]
    assert Counter(rows) == Counter(table())


# --- what rows do not show -----------------------------------------------------------------------


@by_layer
def test_package_of_the_descriptor(layer: str) -> None:
    """The package is ours, so that the vendor's schema can be loaded beside it."""
    assert file_of(layer).package == f"smarkets_pool.{layer}"


@by_layer
def test_package_of_the_text(layer: str) -> None:
    """The .proto text states our package, once."""
    assert re.findall(r"^package (.*);$", proto_text(layer), re.MULTILINE) == [f"smarkets_pool.{layer}"]


@by_layer
def test_text_is_proto2(layer: str) -> None:
    """The .proto text asks for proto2."""
    assert re.findall(r"^syntax = (.*);$", proto_text(layer), re.MULTILINE) == ['"proto2"']


@by_layer
def test_descriptor_is_proto2(layer: str) -> None:
    """The compiled file is proto2, which its own description spells as no syntax at all."""
    assert proto_of(layer).syntax in ("", "proto2")
    assert not proto_of(layer).HasField("edition")


@by_layer
def test_every_singular_field_knows_its_presence(layer: str) -> None:
    """Being there and being zero are two things for every field that is not repeated."""
    fields = [field for message in file_of(layer).message_types_by_name.values() for field in message.fields]
    assert fields
    assert [field.full_name for field in fields if field.has_presence == field.is_repeated] == []


@by_layer
def test_enums_are_closed(layer: str) -> None:
    """A number the schema lacks is kept as an unknown field and never shown as a value."""
    assert [enum.name for enum in file_of(layer).enum_types_by_name.values() if not enum.is_closed] == []


@by_layer
def test_nothing_hides_from_the_rows(layer: str) -> None:
    """There are no nested types, extensions, oneofs or services, which the rows could not show."""
    proto = proto_of(layer)
    assert len(proto.service) == 0
    assert len(proto.extension) == 0
    for message in proto.message_type:
        assert not message.nested_type, message.name
        assert not message.enum_type, message.name
        assert not message.extension, message.name
        assert not message.oneof_decl, message.name


@by_layer
def test_no_field_is_packed(layer: str) -> None:
    """No field asks for packing, neither in the compiled schema nor in its text."""
    fields = [field for message in proto_of(layer).message_type for field in message.field]
    assert [field.name for field in fields if field.options.packed] == []
    assert "packed" not in proto_text(layer).replace("smarkets_pool", "")


def test_repeated_enum_travels_as_one_tag_per_element() -> None:
    """Two reasons are two tagged varints on the wire, not one packed run."""
    message = seto.OrderInvalid(
        seq=1, reasons=[seto.ORDER_INVALID_INVALID_PRICE, seto.ORDER_INVALID_INVALID_QUANTITY]
    )
    assert message.SerializeToString() == bytes.fromhex("0801 1001 1002")


def test_both_packages_share_the_eto_payload() -> None:
    """The betting layer's envelope holds the session layer's message, not a copy of its description."""
    assert seto.Payload.DESCRIPTOR.fields_by_name["eto_payload"].message_type is eto.Payload.DESCRIPTOR


@by_layer
def test_facade_has_every_name(layer: str) -> None:
    """Every message, enum and constant is a name in ``smarkets_pool.eto`` or ``smarkets_pool.seto``."""
    facade, module = FACADES[layer], LAYERS[layer]
    names = {row.type_name for row in table() if row.package == layer}
    names |= {row.entry_name for row in table() if row.package == layer and row.kind == "enum"}
    assert [name for name in sorted(names) if getattr(facade, name) is not getattr(module, name)] == []
