"""A simulated Alma for many institutions: users, sets, general configuration, limits, latency, refusals.

`alma.Alma` is the whole of it, in pure Python; `adapter` mounts it in a requests session without a socket,
`server` puts it on a port; `judge` tells whether what a run did to it was right. It answers as Alma is documented,
or was recorded, to answer; where neither tells, a comment says what was chosen.
"""
