"""Policies: how long to wait for what, when to come back and when to give up, per pool and per account.

Runs offline, on the embedded exchange, which refuses logins and cuts connections::

    python examples/per_account_policies.py

``Pool(reconnect=..., timeouts=...)`` is for every account that has none of its own; ``Account(...,
reconnect=..., timeouts=...)`` replaces it as a whole (what is not named in it has the library's default, not
the pool's). What to look at:

* The table at the beginning: the longest delay before each attempt. A real delay is a random share of it
  ("full jitter", unless ``jitter`` says less), so that many accounts do not all come back at once.
* ``member.down``: ``retry_in`` is the policy's decision. A delay does not start at its beginning again
  because one login worked: the account has to be up for ``stable_after`` seconds first.
* An account with ``max_attempts`` gives up after so many failures in a row, of which the loss of the
  connection is the first: ``retry_in`` is None then, and ``member.given_up`` says why. Refused credentials
  are final under every policy, and a protocol that breaks is retried ``max_broken`` times.
* ``login_rate`` and ``login_burst`` are the pool's own: so many logins over all its accounts.
"""

from gevent import monkey

monkey.patch_all()

import logging

import gevent
from gevent.server import StreamServer

from smarkets_pool import Account, Backoff, Pool, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.exceptions import PoolError
from smarkets_pool.exchange import EmbeddedExchange

#: The pool's. All numbers here are shorter than in real life.
USUAL = ReconnectPolicy(backoff=Backoff(initial=0.1, cap=0.5), login_rate=50, login_burst=10)
#: For an account that earns its money by being there.
FAST = ReconnectPolicy(backoff=Backoff(initial=0.05, cap=0.2))
#: For one that can wait: exactly this long, always.
PATIENT = ReconnectPolicy(backoff=Backoff(initial=0.45, cap=0.45, jitter=0))
#: For one that somebody has to look at after three failures in a row: the loss and two attempts.
LIMITED = ReconnectPolicy(backoff=Backoff(initial=0.05, cap=0.1), max_attempts=3)
#: For a login that is to be answered at once or not at all; two failures and it is given up.
HASTY = TimeoutPolicy(login=0.2)
TWICE = ReconnectPolicy(backoff=Backoff(initial=0.1, cap=0.1), max_attempts=2)
POLICIES = {"usual": USUAL, "fast": FAST, "patient": PATIENT, "limited": LIMITED}


def wait_for(what, condition, timeout=10):
    with gevent.Timeout(timeout, RuntimeError(f"waited {timeout} s for {what}, in vain")):
        while not condition():
            gevent.sleep(0.005)


def says_nothing(connection, address):
    """An exchange that accepts connections and answers nothing."""
    while connection.recv(4096):
        pass


def main():
    # The log would tell of every attempt, too.
    logging.getLogger("smarkets_pool").setLevel(logging.CRITICAL)

    print("the longest delays before attempts 1 to 6, in seconds")
    for name, policy in POLICIES.items():
        delays = "  ".join(f"{policy.backoff.ceiling(attempt):.2f}" for attempt in range(1, 7))
        print(f"   {name:8} {delays}  (jitter {policy.backoff.jitter}, max_attempts {policy.max_attempts})")

    silent = StreamServer(("127.0.0.1", 0), says_nothing)
    silent.start()
    with EmbeddedExchange(accounts=len(POLICIES)) as exchange:
        pool = Pool(
            [
                Account("usual", **exchange.settings_for(0)),
                Account("fast", **exchange.settings_for(1), reconnect=FAST),
                Account("patient", **exchange.settings_for(2), reconnect=PATIENT),
                Account("limited", **exchange.settings_for(3), reconnect=LIMITED),
            ],
            reconnect=USUAL,
        )
        ups, ends = [], []

        @pool.on("member.up")
        def up(delivery):
            ups.append(delivery.account)
            print(f"   {delivery.account:8} is up")

        @pool.on("member.down")
        def down(delivery):
            message = delivery.message
            decision = "gives up" if message.final else f"tries again in {message.retry_in:.3f} s"
            if message.final:
                ends.append(delivery.account)
            # ``message.reason`` is a whole sentence; the kind of error is enough for this table.
            print(f"   {delivery.account:8} {decision} after {type(message.error).__name__}")

        with pool:
            wait_for("all to be up", lambda: len(ups) == len(pool))

            print("every connection is cut; logins are refused for 0.6 s, and longer to the limited one")
            ups.clear()
            *others, limited = [login.username for login in exchange.logins]
            for username in others:
                exchange.cut(username, away=0.6)
            exchange.cut(limited, away=60)
            wait_for("the limited one's end", lambda: ends == ["limited"])
            print("   limited:", pool["limited"].given_up)
            wait_for("the others to be back", lambda: sorted(ups) == ["fast", "patient", "usual"])

            print("somebody has looked at the limited one: restart lifts its quarantine")
            exchange.faults.admit_login(limited)
            pool.restart("limited")
            wait_for("the limited one", lambda: "limited" in ups)

            print("an account of an exchange that answers nothing is added, with little patience")
            nowhere = {"host": "127.0.0.1", "port": silent.server_port, "ssl": False}
            pool.add(
                Account(
                    "hasty", username="hasty", password="secret", **nowhere, timeouts=HASTY, reconnect=TWICE
                )
            )
            wait_for("its end", lambda: "hasty" in ends)
            try:
                pool.wait_until_up(timeout=10)
            except PoolError as error:
                print("   wait_until_up:", error)

            print("what the pool says of each")
            for name, stats in pool.stats()["members"].items():
                print(
                    f"   {name:8} {stats['state']:4} {stats['connection_number']} connections tried, "
                    f"{stats['login_failures_total']} logins failed, {stats['disconnects_total']} lost"
                )
    silent.stop()


if __name__ == "__main__":
    main()
