"""The queue's process: django-q's cluster, until SIGTERM.

Its own command `qcluster` returns once the cluster runs and leaves the waiting to multiprocessing's exit handler, which
a forked child does not run. It loads the tasks before the workers are forked, each of which would do so by itself.
"""

from importlib import import_module

from django_q.cluster import Cluster


def main() -> None:
    import_module("certs.tasks")
    cluster = Cluster()
    cluster.start()
    cluster.sentinel.join()


if __name__ == "__main__":
    main()
