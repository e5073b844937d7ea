"""One account with the vendor's client: log in, subscribe, place an order, cancel it, log out.

Runs offline, on the embedded exchange::

    python examples/one_account.py

A program written for ``smk_python_sdk`` looks just like this with other imports. The only additions are
the first two lines and the exchange: it runs in this process, so sockets have to be cooperative.
"""

from gevent import monkey

monkey.patch_all()

from smarkets_pool.api import SIDE_BID, Session, SessionSettings, StreamingAPIClient, seto
from smarkets_pool.exchange import EmbeddedExchange


def main() -> None:
    with EmbeddedExchange(accounts=1) as exchange:
        client = StreamingAPIClient(Session(SessionSettings(**exchange.settings_for(0))))
        answers = {}

        def remember(name, message):
            """A global handler gets everything: its name and the frame."""
            answers[name] = message.protobuf

        def accepted(message):
            """A named handler gets the payload."""
            print("accepted: order", message.order_accepted.order_id)

        client.add_handler("seto.order_accepted", accepted)
        client.add_global_handler(remember)

        client.login()
        print("logged in, session", client.session.session)

        market_id = exchange.market_ids[0]
        contract_id = exchange.contract_ids[market_id][0]

        def read_until(name):
            while name not in answers:
                client.read()
            return answers[name]

        client.send(seto.MarketSubscribe(market_id=market_id))
        client.send(
            seto.OrderCreate(
                side=SIDE_BID,
                price=2500,  # 25.00 %, decimal odds 4
                quantity=400_000,  # pays 40.00 if it wins, so it risks 10.00
                market_id=market_id,
                contract_id=contract_id,
            )
        )
        client.flush()
        order = read_until("seto.order_accepted").order_accepted
        quotes = read_until("seto.contract_quotes").contract_quotes
        print("the book shows", [(bid.price, bid.quantity) for bid in quotes.bids])

        client.send(seto.OrderCancel(order_id=order.order_id))
        client.flush()
        read_until("seto.order_cancelled")
        print("cancelled")

        client.logout()
        print("logged out")


if __name__ == "__main__":
    main()
