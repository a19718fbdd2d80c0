"""Makes the looks of a diagnosis once, in a process of its own: none of them may hold the supervisor."""

from certs.services.node_diagnoses import node_diagnose


def main() -> None:
    node_diagnose()


if __name__ == "__main__":
    main()
