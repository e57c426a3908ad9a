# Copyright 2026 The edge_vla authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


"""Plays a recording to running nodes, with its clock; ``ros2 bag play`` is not needed."""

from collections.abc import Iterator
from importlib import import_module
import json
from pathlib import Path
import struct
import time
from typing import Any

from edge_vla.config import PlayerNodeConfig
from edge_vla.evaluation import bags
from edge_vla.evaluation.bag_files import broken
from edge_vla.evaluation.bag_messages import without_sequence
from edge_vla.evaluation.live_agreement import ENOUGH, LiveAgreement, sentence
from edge_vla.exceptions import BagError, ConfigError
from edge_vla.ros import conversions, parameters, qos, spin
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock as ClockMessage

LAST_ANSWER_S = 1.0  # so long the end waits for the command to the last image
SHORTEST_NS = 1_000_000  # between two looks at what is due
LISTED = 20  # unanswered images that are named


class BagPlayerNode(Node):
    """
    Publishes images and odometry of a recording where the pilot listens.

    Messages go out as they were recorded, byte for byte, but for images without a stamp: they get
    the time at which they were recorded, as in a replay. Those that cannot be read are left out.
    In lockstep every image waits for its command, so that no frame is lost on however slow a
    computer; odometry that is due with it goes out a little before it, as it was recorded.

    Attributes
    ----------
    finished : bool
        Whether the recording has ended.
    status : int
        Exit status: 1 when there was no image to play, or the commands were compared with a
        replay and too many are others.

    """

    def __init__(self, **options: Any) -> None:
        super().__init__('bag_player_node', **options)
        self.config = config = parameters.declare(self, PlayerNodeConfig).player
        if not config.bag:
            raise ConfigError('player.bag names no recording to play')
        if config.actions and config.loop:
            raise ConfigError('player.actions: commands are compared at the end, which there is '
                              'none of with player.loop')
        self.finished, self.status = False, 0
        self._replayed = LiveAgreement(Path(config.actions)) if config.actions else None
        self._bag = bags.Bag(Path(config.bag), bags.Wanted(config.image, config.odometry, 'none',
                                                           'none'))
        reader = self._bag.reader
        self._from = reader.start_time + round(config.start * 1e9)
        self._to = reader.end_time + 1
        if config.duration > 0:
            self._to = min(self._to, self._from + round(config.duration * 1e9))
        if self._from >= self._to:
            raise ConfigError(f'player.start: the recording is only '
                              f'{reader.duration * 1e-9:.1f} s long')
        self._outputs = self._advertise()
        self._clock_out = self.create_publisher(ClockMessage, '/clock', qos.CLOCK)
        self.create_subscription(TwistStamped, 'cmd_vel', self._on_command, qos.COMMAND)
        self.images = self.answered = 0
        self._played: set[int] = set()
        self._open: dict[int, float] = {}  # stamps of images without a command, and since when
        self._held: int | None = None
        self._ready: float | None = None  # since when somebody listens
        self._ended: float | None = None
        self._rewind()
        self._timer = self.create_timer(1 / config.clock_rate, self._run,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        images = self._outputs[self._bag.topic].topic_name
        self.get_logger().info(f'{config.bag}: {", ".join(self._outputs)}; waiting for '
                               f'somebody to listen to {images}')

    def _advertise(self) -> dict[str, Publisher]:
        """Return the publisher of every topic that is played, by its name in the recording."""
        bag, made = self._bag, {}
        extra = [t.strip() for t in self.config.topics.split(',') if t.strip()]
        for name in extra:  # what was commanded then must not fly now
            if self.resolve_topic_name(name) in (self.resolve_topic_name('cmd_vel'), '/clock'):
                raise ConfigError(f'player.topics: {name} is written by the pilot or the player '
                                  'itself')
        kinds = {c.topic: c.msgtype for c in bag.reader.connections}
        if unknown := [t for t in extra if t not in kinds]:
            raise BagError(f'{bag.path} has no topic {", ".join(unknown)}; it has '
                           f'{", ".join(sorted(kinds))}')
        kept = {c.topic for c in bag.reader.connections if 'TRANSIENT_LOCAL' in str(
            getattr(c.ext, 'offered_qos_profiles', ''))}
        ours = {bag.topic: 'image' if kinds[bag.topic] == bags.IMAGE else 'image/compressed',
                bag.odometry: 'odom'}
        for topic in (bag.topic, *([bag.odometry] if bag.odometry else []), *extra):
            package, _, name = kinds[topic].split('/')
            try:
                kind = getattr(import_module(f'{package}.msg'), name)
            except (ImportError, AttributeError):
                self.get_logger().warning(f'{topic} is left out: {kinds[topic]} is not installed')
                continue
            made[topic] = self.create_publisher(
                kind, ours.get(topic, topic),
                qos.SENSOR_OUT if topic in ours else qos.played(topic in kept))
        return made

    def _rewind(self) -> None:
        self._damaged, self._damage = 0, ''  # how many, and what is wrong with the first
        self._messages = self._read()
        self._next = next(self._messages, None)
        self._at_ns, self._since = self._from, time.monotonic()

    def _read(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, time and CDR bytes of every message that is played."""
        reader = self._bag.reader
        chosen = [c for c in reader.connections if c.topic in self._outputs]
        try:
            types = {} if self._bag.ros == 2 else {c: without_sequence(c) for c in chosen}
            for c, time_ns, raw in reader.messages(chosen, start=self._from, stop=self._to):
                try:
                    message = self._checked(c, time_ns, raw, types[c] if types else None)
                except Exception as error:  # noqa: B902  rosbags has many ways to fail
                    self._damage = self._damage or str(broken(self._bag.path, error, True))
                    self._damaged += 1
                    continue
                yield c.topic, time_ns, message
        except Exception as error:
            raise broken(self._bag.path, error) from error

    def _checked(self, connection: Any, time_ns: int, raw: bytes, types: Any) -> bytes:
        """Return a message as CDR; raise whatever is wrong with it."""
        bag = self._bag
        if connection.topic in (bag.topic, bag.odometry):  # what cannot be read is no message
            bag.messages.read(connection, raw)
        if types is not None:
            raw = types.ros1_to_cdr(raw, connection.msgtype)
        raw = bytes(raw)
        return stamped(raw, time_ns) if connection.topic == bag.topic else raw

    def _run(self) -> None:
        now = time.monotonic()
        if self._ended is not None:
            if not self._open or now - self._ended > LAST_ANSWER_S:
                self._finish()
            return
        if self._waiting(now):
            self._since = now  # time stands still
        elif self._next is None:
            self._end(now)
            return
        else:
            self._play(self._at_ns + round((now - self._since) * self.config.rate * 1e9))
        self._clock_out.publish(ClockMessage(clock=conversions.to_stamp(self._at_ns)))
        self._timer.timer_period_ns = self._pause()
        self._timer.reset()  # from now on, not from when it was due

    def _pause(self) -> int:
        """Return how long to sleep, ns: until the next message is due, or the clock is."""
        longest = round(1e9 / self.config.clock_rate)
        if self._next is None or self._ready is None or self.config.lockstep:
            return longest
        due = (self._next[1] - self._at_ns) / self.config.rate - \
            (time.monotonic() - self._since) * 1e9
        return min(longest, max(SHORTEST_NS, round(due)))

    def _waiting(self, now: float) -> bool:
        """Tell whether to hold: until somebody listens, and in lockstep for the command."""
        if self._ready is None or now - self._ready < self.config.settle:
            if self._outputs[self._bag.topic].get_subscription_count() == 0:
                self._ready = None
            elif self._ready is None:
                self._ready = now
            return True
        if self._held in self._open and (
                now - self._open[self._held] < self.config.lockstep_timeout):
            return True
        self._held = None
        return False

    def _play(self, until_ns: int) -> None:
        """Publish what is due, no further than the next image: what follows it comes after it."""
        others = False
        while self._next is not None and self._next[1] <= until_ns:
            topic, time_ns, raw = self._next
            image = topic == self._bag.topic
            if image and others and self.config.lockstep:
                until_ns = self._at_ns  # the pilot first hears what came before the image
                break
            self._next = next(self._messages, None)
            self._outputs[topic].publish(raw)
            others = others or not image
            if image:
                stamp = stamp_of(raw)
                self._played.add(stamp)
                self.images += 1
                self._open[stamp] = time.monotonic()
                if self.config.lockstep:
                    self._held, until_ns = stamp, time_ns
                break
        self._at_ns, self._since = until_ns, time.monotonic()

    def _on_command(self, message: TwistStamped) -> None:
        stamp, t = conversions.to_nanoseconds(message.header.stamp), message.twist
        if self._open.pop(stamp, None) is not None:
            self.answered += 1
        if self._replayed is not None:
            self._replayed.heard(stamp, (t.linear.x, t.linear.y, t.linear.z, t.angular.z))

    def _end(self, now: float) -> None:
        if self._damaged:
            self.get_logger().warning(f'{self._damaged} messages are damaged and left out; the '
                                      f'first: {self._damage}')
        if not self.images:
            self.status = 1
            self.get_logger().error(f'{self.config.bag}: no image on {self._bag.topic} in the '
                                    'time asked for can be played')
        if self.config.loop and self.images:
            self._rewind()
        else:
            self._ended = now

    def _finish(self) -> None:
        """Tell what became of the images and let the process end."""
        if self.finished:
            return
        self.finished = True
        text = f'played {self.images} images, {self.answered} were answered'
        if self._open:
            text += '; without a command: ' + ', '.join(
                str(s) for s in list(self._open)[:LISTED])
            text += ' and more' if len(self._open) > LISTED else ''
        self.get_logger().info(text)
        if self._replayed is not None and self.images:
            self._compare(self._replayed)

    def _compare(self, replayed: LiveAgreement) -> None:
        """Tell how many commands are those of the replay."""
        result = replayed.result(self._played)
        enough = result['share'] >= ENOUGH
        if not enough:
            self.status = 1
        (self.get_logger().info if enough else self.get_logger().error)(sentence(result))
        path = replayed.path.with_name('live.json')
        try:
            path.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
        except OSError as error:
            self.get_logger().warning(f'{path} cannot be written: {error.strerror or error}')

    def close(self) -> None:
        """Close the recording."""
        self._bag.reader.close()


def stamp_of(raw: bytes) -> int:
    """
    Return the stamp of a message that begins with a header, ns.

    Parameters
    ----------
    raw : bytes
        CDR: four bytes of encapsulation, the second of which tells the byte order.

    """
    order = '<' if raw[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(order + 'iI', raw, 4)
    return seconds * 1_000_000_000 + nanoseconds


def stamped(raw: bytes, time_ns: int) -> bytes:
    """Return a message that begins with a header, as CDR, with a stamp if it had none."""
    if stamp_of(raw):
        return raw
    stamp = struct.pack(('<' if raw[1] & 1 else '>') + 'iI', *divmod(time_ns, 1_000_000_000))
    return raw[:4] + stamp + raw[12:]


def main() -> int:
    """Run the node."""
    return spin.run(BagPlayerNode, 'bag_player_node')


if __name__ == '__main__':
    raise SystemExit(main())
