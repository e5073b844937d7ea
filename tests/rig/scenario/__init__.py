"""Scenario scripts: conversations of clients and exchange that a person can read, and what plays them.

Here by life:

* ``language``: the text of a script to its steps; ``values``: what stands behind a field's ``=``;
* ``framing`` and ``messages``: frames and payloads in the words of a script, made without the package's
  own framing and protocol, which both ends share: a mistake that is symmetric in them must not pass;
* ``matching``: what came against what was written;
* ``exchange_side``, ``socket_side``, ``session_side``, ``pool_side``: what is under test, and how the script
  plays its opposite;
* ``report``: the talk so far, and the diff of what went wrong;
* ``runner``: one step after the other.

``docs/scenarios.md`` teaches the language.
"""
