"""What ``vendor_program.py`` is written with: a client of the vendor's SDK that keeps what its handlers got.

Nothing here knows smarkets_pool: the exchange is reached by the SDK, and over HTTP by its control.
"""

import collections
import json
import logging
import ssl
import sys
import time
import urllib.request

from smarkets.streaming_api import eto_pb2, seto_pb2
from smarkets.streaming_api.client import StreamingAPIClient
from smarkets.streaming_api.session import Session, SessionSettings

BUY, SELL = seto_pb2.SIDE_BUY, seto_pb2.SIDE_SELL
READ_LIMIT = 15
#: Numbers of the types, to names as the SDK has them.
ETO_NAMES = {number: "eto." + name[8:].lower() for name, number in eto_pb2.PayloadType.items()}
SETO_NAMES = {number: "seto." + name[8:].lower() for name, number in seto_pb2.PayloadType.items()}

# The SDK warns of gaps, and they are made on purpose.
logging.getLogger().addHandler(logging.NullHandler())

#: How often each type was sent, and how often it arrived at a handler, by everybody.
sent = collections.Counter()
arrived = collections.Counter()


def name_of(payload):
    """``seto.order_create``, ``eto.ping``: the name the SDK has for a payload."""
    if payload.type == seto_pb2.PAYLOAD_ETO:
        return ETO_NAMES[payload.eto_payload.type]
    return SETO_NAMES[payload.type]


def check(what, condition, *details):
    """Say what held, or stop."""
    if not condition:
        sys.exit("FAILED: {} {}".format(what, " ".join(map(str, details))))
    print("ok: " + what)


def must(what, condition, *details):
    """Stop unless it holds; nothing is said, since it is one of many."""
    if not condition:
        sys.exit("FAILED: {} {}".format(what, " ".join(map(str, details))))


def short_names(enum, prefix):
    """An enum's names without what they have in common, by number."""
    return {number: name[len(prefix) :] for name, number in enum.items()}


def balances(place, trader):
    """What the exchange has of an account, as the doubles that it tells."""
    (found,) = place.control("balances", account=trader.username)
    return float(found["available"]), float(found["exposure"])


class Place:
    """The exchange: where it is, who may log in, its control, and its markets one after the other."""

    def __init__(self, ready_file):
        with open(ready_file) as file:
            self.where = json.load(file)
        self._markets = iter(self.where["markets"])

    def market(self):
        """A market that nobody has used yet: its id and its contracts'."""
        market = next(self._markets)
        return market["market_id"], market["contract_ids"]

    def login(self, number):
        """An account's credentials."""
        return self.where["accounts"][number]

    def control(self, command, **arguments):
        """Have the exchange's control do something; what it answers."""
        request = urllib.request.Request(
            "{}/{}".format(self.where["control"]["url"], command),
            json.dumps(arguments).encode(),
            {"Authorization": "Bearer " + self.where["control"]["token"]},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=READ_LIMIT) as answer:
            return json.load(answer)["value"]

    def settings(self, number, token=False, **others):
        """The SDK's settings for an account."""
        login = self.login(number)
        tls = (
            {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": self.where["ca_file"]} if self.where["tls"] else None
        )
        values = {
            "username": None if token else login["username"],
            "password": None if token else login["password"],
            "token": login["token"] if token else None,
            "host": self.where["host"],
            "port": self.where["port"],
            "ssl": self.where["tls"],
            "ssl_kwargs": tls,
            "socket_timeout": READ_LIMIT,
        }
        values.update(others)
        return SessionSettings(**values)


class Trader:
    """One session of the SDK.

    Every handler there is is registered by its name; ``inbox`` has what they got and nobody has asked for,
    but heartbeats, which come at any time: ``beats`` counts them.
    """

    def __init__(self, place, number, position=None, **settings):
        self.place = place
        self.username = place.login(number)["username"]
        self.session = Session(place.settings(number, **settings), account_sequence=position)
        self.client = StreamingAPIClient(self.session)
        self.inbox = []
        self.last = None
        self.beats = 0
        #: Never says anything again by itself, heartbeats neither.
        self.is_mute = False
        self.events = []
        self.references = 0
        self._count_what_is_sent()
        for name in StreamingAPIClient.CALLBACKS:
            self.client.add_handler(name, self._handler(name))
        self.client.add_global_handler(self._note)

    # --- what happens inside the SDK ---

    def _count_what_is_sent(self):
        send = self.session.send

        def counted():
            sent[name_of(self.session.out_payload)] += 1
            send()

        self.session.send = counted

    def _handler(self, name):
        def handle(message):
            # The SDK may use its payload again.
            payload = seto_pb2.Payload()
            payload.CopyFrom(message)
            arrived[name] += 1
            self.last = name, payload
            if name == "eto.heartbeat":
                self.beats += 1
                return
            self.inbox.append(self.last)
            member = getattr(payload, name.partition(".")[2], None)
            if getattr(member, "account_sequence_64", 0):
                self.events.append((name, member))

        return handle

    def _note(self, name, message):
        must("global and named handlers get the same", self.last[1] == message.protobuf, name)

    # --- life ---

    def login(self):
        """Log in, and see the limits that are told at once."""
        self.first_event = self._next_event()
        self.client.login()
        self.expect("eto.login_response")
        self.expect("seto.throttle_limits_changed")
        return self

    def _next_event(self):
        (account,) = self.place.control("accounts", account=self.username)
        return account["next_account_sequence"]

    def logout(self):
        """Log out; the exchange confirms it. What the account was told is compared with the truth."""
        self.barrier()
        self.client.logout()
        name, payload = self.last
        reason = payload.eto_payload.logout.reason
        must("a logout is confirmed", (name, reason) == ("eto.logout", eto_pb2.LOGOUT_CONFIRMATION), name)
        self.compare()

    def compare(self):
        """Every event of the account since the login arrived, in order, with what it said."""
        truth = self.place.control("events", account=self.username, after=self.first_event - 1)
        told = [
            (
                name,
                event.account_sequence_64,
                getattr(event, "order_id", 0),
                getattr(event, "quantity", 0),
                event.account_sequence,
            )
            for name, event in self.events
        ]
        numbers = ("name", "account_sequence", "order_id", "quantity", "account_sequence")
        happened = [tuple(event[number] for number in numbers) for event in truth]
        must("the account was told what happened", told == happened, told, happened)

    # --- reading ---

    def read(self):
        """One blocking read; answers to heartbeats leave with a flush."""
        self.client.read()
        if self.session.connected and not self.is_mute:
            self.flush()

    def expect(self, name, **fields):
        """Wait for a message of that name, the oldest that was not asked for; check fields; return it.

        A field that is None must be absent. Floats must be exact.
        """
        until = time.monotonic() + READ_LIMIT
        while all(waiting != name for waiting, _ in self.inbox):
            comes = self.session.connected and time.monotonic() < until
            must(f"{name} comes", comes, [waiting for waiting, _ in self.inbox])
            self.read()
        index = next(index for index, (waiting, _) in enumerate(self.inbox) if waiting == name)
        _, payload = self.inbox.pop(index)
        layer, _, member = name.partition(".")
        holder = payload if layer == "seto" else payload.eto_payload
        message = getattr(holder, member, holder)
        for field, value in fields.items():
            found = getattr(message, field) if value is not None else None
            right = not message.HasField(field) if value is None else found == value
            must(f"{name}.{field} is {value!r}", right, "found", found, "in", message)
        return message

    def barrier(self):
        """Ping, and take the pong: whatever was sent before has arrived and been answered."""
        self.client.ping()
        self.flush()
        self.expect("eto.pong")

    def forget(self):
        """Whatever has arrived is not asked for any more; the names of it."""
        self.barrier()
        names = [name for name, _ in self.inbox]
        del self.inbox[:]
        return names

    # --- writing ---

    def flush(self):
        """The SDK may write a part only, so until nothing is left."""
        while self.client.output_buffer_size:
            self.client.flush()

    def send(self, message):
        """Send at once."""
        self.client.send(message)
        self.flush()

    def send_by_hand(self, inner, **fields):
        """Send a payload of the session layer, for which the SDK has no call of its own."""
        payload = self.session.out_payload
        payload.Clear()
        payload.type = seto_pb2.PAYLOAD_ETO
        payload.eto_payload.type = inner
        for name, values in fields.items():
            for field, value in values.items():
                setattr(getattr(payload.eto_payload, name), field, value)
        self.session.send()
        self.flush()

    def create(self, market, contract, side, price, quantity, **fields):
        """Send an order; return its number and its reference."""
        self.references += 1
        message = seto_pb2.OrderCreate(
            type=seto_pb2.ORDER_CREATE_LIMIT,
            side=side,
            quantity_type=seto_pb2.QUANTITY_PAYOFF_CURRENCY,
            quantity=quantity,
            price_type=seto_pb2.PRICE_PERCENT_ODDS,
            price=price,
            market_id=market,
            contract_id=contract,
            reference=self.references,
            **fields,
        )
        number = self.session.buf_outseq
        self.send(message)
        return number, self.references

    def place_order(self, market, contract, side, price, quantity, **fields):
        """Send an order and have it accepted; return its id."""
        number, reference = self.create(market, contract, side, price, quantity, **fields)
        accepted = self.expect(
            "seto.order_accepted",
            seq=number,
            price=price,
            quantity=quantity,
            reference=reference,
            market_id=market,
            contract_id=contract,
            side=side,
            label=fields.get("label"),
        )
        return accepted.order_id
