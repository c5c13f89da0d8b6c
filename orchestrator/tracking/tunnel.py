"""A tunnel to the head of a cluster, which stays until the process is ended.

    python -m orchestrator.tracking.tunnel FILE PORT HEADS_PORT

FILE is the cluster's, PORT on this machine leads to HEADS_PORT on the head. A process of its own: of what goes wrong it
says the last line, where Ray would print all that it did until then.
"""

from __future__ import annotations

import logging
import sys


def main(file: str, port: str, heads_port: str) -> None:
    """Ray's ssh to the head; it sleeps there for as long as the tunnel is wanted."""
    from ray.autoscaler.sdk import configure_logging, run_on_cluster  # only now: it is slow

    from orchestrator.errors import one_line

    logging.disable()
    configure_logging(log_style="pretty", color_mode="auto", verbosity=0)
    try:
        run_on_cluster(file, cmd="sleep infinity", port_forward=[(int(port), int(heads_port))])
    except KeyboardInterrupt:
        sys.exit(130)
    except (Exception, SystemExit) as error:  # every provider has errors of its own
        why = one_line(error) if isinstance(error, Exception) else "ssh has ended"
        print(f"error: --cluster: there is no way to the head of {file}: {why}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
