"""Bad input against the embedded exchange: ``make fuzz``, and a short part of it in ``make test``.

A *case* is a string of bytes. ``case.play`` reads decisions off it: which settings, who connects, what is
sent, how it is spoilt. The same bytes are the same conversation on every machine, so a case that fails is
kept as a file and played again with ``python -m tests.fuzz.pure --play FILE``. Where the bytes come from is
another matter (``pure``): a seed, or a fuzzer that watches which code they reach. ``siege`` does harm over
real connections, beside good clients that must notice nothing. ``run`` is ``make fuzz``.
"""
