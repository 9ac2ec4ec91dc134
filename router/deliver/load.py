"""What is outstanding at a destination, and how much may be: what ``adapt`` finds, within the settings."""

from __future__ import annotations

from collections.abc import Iterable

from router.clock import Clock
from router.config.settings import Deliver
from router.deliver.adapt import Adapt, Setting
from router.deliver.in_flight import InFlight
from router.deliver.settle import Ended
from router.model import Delivery


class Load:
    """The load of one destination. Its length is how many instances are unanswered."""

    def __init__(self, deliver: Deliver, clock: Clock) -> None:
        self._clock = clock
        self._in_flight = InFlight(deliver.in_flight)
        associations = self._in_flight.associations(deliver.associations)
        self._adapt = Adapt(Setting(associations=associations, window=deliver.window))
        self._sent: set[int] = set()

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def setting(self) -> Setting:
        """What the destination is found to be worth."""
        return self._adapt.setting

    @property
    def most(self) -> int:
        """How many may be unanswered at the most, by the settings and what the peer agreed to."""
        return self._adapt.most

    def associations(self) -> int:
        """How many associations may be open now."""
        return self._adapt.associations(self._clock.monotonic())

    def may_open(self, in_hand: Iterable[Iterable[int]]) -> bool:
        """Whether one association more could send; ``in_hand``: what each has."""
        return self._in_flight.may_open(self._sent, in_hand)

    def window(self, associations: int) -> int:
        """How many may be outstanding on one of so many associations."""
        return self._in_flight.window(self._adapt.setting.window, len(self._sent), associations)

    def agreed(self, window: int) -> None:
        """The peer allows so many outstanding on one association."""
        self._adapt.agreed(window)

    def conceded(self, associations: int) -> None:
        """The peer has refused another association than these."""
        self._adapt.conceded(associations, self._clock.monotonic())

    def sent(self, delivery: Delivery) -> None:
        """It is outstanding from now on."""
        self._sent.add(delivery.delivery_id)
        self._adapt.sent(self._clock.monotonic())

    def lost(self, delivery: Delivery) -> None:
        """It was not answered, if it had been sent at all."""
        if delivery.delivery_id in self._sent:
            self._sent.remove(delivery.delivery_id)
            self._adapt.lost(self._clock.monotonic())

    def answered(self, delivery: Delivery, ended: Ended, *, is_busy: bool) -> bool:
        """It was answered; ``is_busy``: more waits. True: the setting has changed."""
        if delivery.delivery_id not in self._sent:
            return False
        self._sent.remove(delivery.delivery_id)
        return self._adapt.answered(
            took_s=max(ended.ended_at - ended.started_at, 0.0),
            size_bytes=delivery.instance.size_bytes,
            is_busy=is_busy,
            now=self._clock.monotonic(),
        )
