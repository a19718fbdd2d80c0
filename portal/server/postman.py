"""Delivers the alarms that wait, in a process of its own: a mail server's silence must not hold the supervisor."""

from certs.services.alarm_delivery import alarms_deliver


def main() -> None:
    alarms_deliver()


if __name__ == "__main__":
    main()
