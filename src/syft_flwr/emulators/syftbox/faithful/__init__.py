"""The faithful mode of the SyftBox emulator: it loses and renames files in the same races as the real programs.

It follows SyftBox's main branch of December 2025. Each rule has a module that names its source:

* ``sync_cycle``: view, then disk, then journal, one cycle at a time; ``reconcile`` decides without a second look;
* ``disk_walk``: a file that vanishes ends the walk, and at the start it ends the client;
* ``transfers``: uploads, downloads, deletions, conflicts, and three strikes;
* ``realtime`` and ``websocket``: pushes without acknowledgement, with limits of size, time and number;
* ``syft_server`` and ``object_store``: a push reaches its receivers before the store; the index is rebuilt;
* ``subscriptions``: those of the development branch.

All times scale with one factor (``durations``). ``windows`` has the hooks: a test holds a client or the server at a
point of its work, so that each loss happens without luck.

Not copied: authentication, ``syftignore`` files and hotlinks. A client receives without a limit of its downlink. Of the
development branch only the subscriptions are copied; the cycle is that of main. ``Link.delay`` delays pushes only, and ``Link.drop`` loses them on their way to the
server.
"""

from syft_flwr.emulators.syftbox.faithful.faithful_network import FaithfulNetwork
from syft_flwr.emulators.syftbox.faithful.windows import Hold, Window

__all__ = ["FaithfulNetwork", "Hold", "Window"]
