"""One participant of a :class:`federations.ours.FolderFederation`, as a process: ``participate.py ORDER``.

Its email and its folder come only from the environment, as for a real participant.
"""

import json
import sys

import numpy as np
from federations.case import Case
from federations.ours import serve, take_part


def main() -> None:
    order = json.loads(sys.argv[1])
    case = Case(*order["case"])
    if order["partition"] is not None:
        take_part(case, order["partition"])
        return
    outcome = serve(case)
    arrays = {f"arrays/{key}": values for key, values in outcome.arrays.items()}
    np.savez(order["result"], history=json.dumps(outcome.history), names=list(outcome.arrays), **arrays)


if __name__ == "__main__":
    main()
