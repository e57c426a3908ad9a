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


"""The pilot as a managed node: images, an instruction and odometry in, velocities out."""

from collections.abc import Mapping
import gc
import math
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from edge_vla.config import VlaNodeConfig
from edge_vla.datatypes import Action, Command, Context, Frame, Motion, Observation
from edge_vla.exceptions import EdgeVlaError, InstructionError
from edge_vla.language.slow_loop import SlowLoop
from edge_vla.memory import memory_mb
from edge_vla.motion import believable, motion_from_message, MOTION_LIFE_S
from edge_vla.pipeline import Pipeline
from edge_vla.ros import conversions, diagnostics, parameters, qos, spin
from edge_vla.ros.instructions import refusal, shortened, Words
from edge_vla.safety import SafetyGate
from edge_vla.visualization.live import LiveView, View
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

IMAGES = ('image', 'image/compressed')
RAW_LIFE_S = 1.0  # raw images younger than this make compressed ones superfluous
LAST_WORD_S = 0.2  # how long a last zero may take to be acknowledged
LOG_EVERY_S = 2.0
COVERED = .05  # share of the picture under dirt from which diagnostics warn


class VlaNode(LifecycleNode):
    """
    One process from pixel to command.

    The fast loop is the image callback; the slow loop (language) has its own thread. A timer on
    the steady clock, which runs on when a simulator and its /clock die, ramps the command to
    zero when frames stay away.

    """

    def __init__(self, **options: Any) -> None:
        super().__init__('vla_node', **options)
        self.config = parameters.declare(self, VlaNodeConfig)
        self.declare_parameter('autostart', True, ParameterDescriptor(
            description='configure and activate without a lifecycle manager', read_only=True))
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._pipeline: Pipeline | None = None
        self._slow: SlowLoop | None = None
        self._live: LiveView | None = None
        self._gate = SafetyGate(self.config.safety)
        self._entities: list[tuple[Any, Any]] = []
        self._active, self._active_since = False, math.inf
        self._enabled = self.config.node.enabled
        self._doing: dict[str, Any] = {}  # read-outs of the last action
        self._instruction = self.config.pipeline.instruction
        self._clear()
        self.add_on_set_parameters_callback(self._on_parameters)
        # diagnostics tell the state in every phase of life, so they are not managed
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        self.create_timer(self.config.node.diagnostics_period, self._report, clock=self._steady)
        if self.get_parameter('autostart').value:
            self._starter = self.create_timer(0.01, self._autostart, clock=self._steady)

    # --- life cycle ---

    def _autostart(self) -> None:
        self._starter.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, allocate, compile and warm up; nothing of that is left for a callback."""
        began = time.monotonic()
        self._clear()
        try:
            self._pipeline = Pipeline.load(self.config.pipeline, synchronous=False,
                                           adaptation=self.config.adaptation,
                                           say=self.get_logger().warning)
            self._connect()
        except Exception as error:  # noqa: B902  rclpy would swallow it without a word
            self._release()
            self._fail(f'cannot configure: {diagnostics.said(error)}')
            return TransitionCallbackReturn.FAILURE
        gc.collect()
        gc.freeze()  # a full collection takes longer than a frame: leave it nothing to walk
        self.get_logger().info(f'configured in {time.monotonic() - began:.1f} s')
        return TransitionCallbackReturn.SUCCESS

    def _connect(self) -> None:
        """Start the slow loop and create topics, services and timers."""
        self._slow = SlowLoop(self._pipeline.language, self._on_context, self._on_language_error,
                              self._pipeline.reconsider,
                              lambda error: self._fail(diagnostics.said(error)))
        create, keep = self.create_publisher, self._entities
        self._command = create(TwistStamped, 'cmd_vel', qos.COMMAND)
        self._narration = create(String, 'narration', qos.RELIABLE)
        self._answer = create(String, 'answer', qos.RELIABLE)
        self._debug = create(Image, '~/debug/image', qos.SENSOR_OUT)
        keep += [(self.destroy_publisher, p) for p in
                 (self._command, self._narration, self._answer, self._debug)]
        # of what waits, the executor takes the oldest subscription first: an image must find the
        # odometry that came before it
        for kind, topic, callback, profile in (
                (Odometry, 'odom', self._on_odometry, qos.SENSOR),
                (Image, IMAGES[0], self._on_image, qos.SENSOR),
                (CompressedImage, IMAGES[1], self._on_compressed, qos.SENSOR),
                # the first of these two hears all that is said now, so senders find it first
                (String, 'instruction', self._on_instruction, qos.COMMAND),
                (String, 'instruction', self._on_kept_instruction, qos.LATCHED),
                (String, 'question', self._on_question, qos.RELIABLE)):
            keep.append((self.destroy_subscription,
                         self.create_subscription(kind, topic, callback, profile)))
        for kind, name, callback in ((SetBool, '~/enable', self._on_enable),
                                     (Trigger, '~/reset', self._on_reset)):
            keep.append((self.destroy_service, self.create_service(kind, name, callback)))
        node = self.config.node
        for period, callback in ((1 / node.command_rate, self._watch),
                                 (node.narration_period, self._narrate)):
            keep.append((self.destroy_timer,
                         self.create_timer(period, callback, clock=self._steady)))
        if node.live.strip():
            self._show_live()
        self._instruct(self._instruction)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to command."""
        self._gate.reset()
        if self._pipeline is not None:
            self._pipeline.reset()
        self._last_good = self._received = self._number = None
        self._active, self._active_since = True, time.monotonic()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send a last zero, then be silent."""
        self._stop()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything that was configured."""
        self._release()
        self._clear()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send a last zero if active and release everything."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Fall back to unconfigured, stopped."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Leave in order: last zero, thread joined."""
        self._stop()
        self._release()

    def _stop(self) -> None:
        if self._active:
            self._active = False
            self._send(self._gate.zero(self._stamp_ns, 'disabled'))
            self._command.wait_for_all_acked(Duration(seconds=LAST_WORD_S))

    def _release(self) -> None:
        if self._slow is not None:
            self._slow.stop()
            self._slow = None
        if self._live is not None:
            self._live.close()
            self._live = None
        for destroy, entity in self._entities:
            destroy(entity)
        self._entities.clear()
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        gc.unfreeze()

    def _clear(self) -> None:
        self._last_good: float | None = None
        self._stamp_ns = 0
        self._motion: tuple[float, Motion] | None = None
        self._reading: Context | None = None
        self._given = ''  # the instruction that is followed, or read just now
        self._refusal = ''  # why it hovers, where the newest one could not be read
        self._words = Words()
        self._error, self._error_at = '', -math.inf
        self._state = 'disabled'
        self._frames = self._dropped = self._refused = self._lost = 0
        self._received = self._number = None
        self._sender: object = None
        self._raw_at = -math.inf
        self._busy, self._delay, self._interval = (diagnostics.Window() for _ in range(3))

    # --- fast loop ---

    def _on_image(self, message: Image, info: Mapping[str, Any]) -> None:
        self._count(info)
        if self._on_frame(message, conversions.image_to_frame):
            self._raw_at = time.monotonic()

    def _on_compressed(self, message: CompressedImage, info: Mapping[str, Any]) -> None:
        # drivers that use image_transport publish every picture both ways
        if time.monotonic() - self._raw_at > RAW_LIFE_S:
            self._count(info)
            self._on_frame(message, conversions.compressed_to_frame)

    def _count(self, info: Mapping[str, Any]) -> None:
        """Count the images that were published but never seen here."""
        number, sender = info.get('publication_sequence_number'), info.get('publisher_gid')
        if self._active:
            if None not in (number, self._number) and sender == self._sender:
                self._dropped += max(0, number - self._number - 1)
            self._number, self._sender = number, sender

    def _on_frame(self, message: Any, decode: Any) -> bool:
        """Answer an image; return whether it was new and could be used."""
        if not self._active or self._pipeline is None:
            return False
        received = time.monotonic()
        try:
            stamp_ns = conversions.stamp_of(message, self)
            if stamp_ns == self._stamp_ns and self._last_good is not None:
                return False  # a camera that hangs may repeat itself for ever: nothing new came
            frame = decode(message, stamp_ns)
            if frame.stamp_ns < self._stamp_ns:
                self.get_logger().warning('the clock went back: the flight starts anew',
                                          throttle_duration_sec=LOG_EVERY_S)
            motion = None
            if self._motion is not None and received - self._motion[0] < MOTION_LIFE_S:
                motion = self._motion[1]
            action = self._pipeline.step(Observation(frame, self._instruction, motion))
            command = self._gate.filter(action)
        except Exception as error:  # noqa: B902  a flying node must survive every frame
            self._refused += 1
            self._fail(f'frame refused: {diagnostics.said(error)}')
            if not isinstance(error, EdgeVlaError):
                self._pipeline.reset()  # it may have stopped half way
            return False
        if command.state == 'rejected':
            self._pipeline.reset()  # else what is not finite would stay in its state
            self._fail('the policy gave a command that is not finite: braking')
        if not self._enabled:
            command = self._gate.zero(frame.stamp_ns, 'disabled')
            self._state = command.state
        else:
            self._send(command)
        self._pipeline.sent(command)
        if self._pipeline.look is not None:
            self._slow.do('look', self._pipeline.think)
        self._doing = action.info
        now = self._last_good = time.monotonic()
        self._frames += 1
        if self._received is not None:
            self._interval.add(received - self._received)
        self._received, self._stamp_ns = received, frame.stamp_ns
        self._busy.add((now - received) * 1e3)
        self._delay.add((self.get_clock().now().nanoseconds - frame.stamp_ns) * 1e-6)
        if self._live is not None:
            self._live.show(View(frame, action, command, shortened(self._instruction),
                                 self._told(), (now - received) * 1e3))
        if self._debug.get_subscription_count():
            try:
                self._draw(frame, action, command)
            except Exception as error:  # noqa: B902  a picture is not worth a flight
                self._fail(f'no debug image: {diagnostics.said(error)}')
        return True

    def _told(self) -> str:
        """Return what is being done, as the narration has it without what is seen."""
        context, pipeline = self._reading, self._pipeline
        return '' if context is None or pipeline is None else pipeline.doing(context)

    def _show_live(self) -> None:
        """Open the live view; a flight does not depend on it."""
        try:
            self._live = LiveView(self.config.node.live, self._fail)
        except EdgeVlaError as error:
            self._fail(f'flying without a live view: {error}')
            return
        self.get_logger().info(f'live view in {self._live.name} on port {self._live.port}')

    def _send(self, command: Command) -> None:
        self._state = command.state
        self._command.publish(
            conversions.command_to_twist(command, self.config.node.frame_id))

    def _watch(self) -> None:
        """Ramp to zero when no good frame came; silent before the first one."""
        if not self._active or not self._enabled or self._last_good is None:
            return
        age = time.monotonic() - self._last_good
        if age > self.config.safety.stale_after:
            if self._state != 'stale':
                self._lost += 1
                self.get_logger().warning(f'no new usable image for {age:.2f} s: braking')
            self._send(self._gate.decay(age))

    def _on_odometry(self, message: Odometry) -> None:
        motion = motion_from_message(message, conversions.stamp_of(message, self))
        if believable([*motion.velocity, motion.yaw_rate, motion.roll, motion.pitch]):
            self._motion = (time.monotonic(), motion)
        else:
            self._motion = None
            self._fail('odometry is not finite, or beyond 1000 m/s: flying without')

    def _draw(self, frame: Frame, action: Action, command: Command) -> None:
        from edge_vla.visualization.overlay import draw, Overlay
        context = self._reading
        picture = draw(frame.image, Overlay(
            self._instruction, '' if context is None else context.text, command.velocity,
            command.yaw_rate, None, command.state, action.info.get('attention'),
            kept=action.info.get('kept')))
        self._debug.publish(conversions.frame_to_image(
            Frame(frame.stamp_ns, picture), self.config.node.frame_id))

    # --- slow loop ---

    def _on_instruction(self, message: String, info: Mapping[str, Any]) -> None:
        if self._words.said_now(info):
            self._instruct(message.data)

    def _on_kept_instruction(self, message: String, info: Mapping[str, Any]) -> None:
        if self._words.kept(info):
            self._instruct(message.data)

    def _instruct(self, text: str) -> None:
        self._instruction, self._refusal = text, ''
        if self._pipeline is None or self._slow is None or text.strip() == self._given:
            return  # said again it begins nothing anew, as when it is published once a second
        self._given = text.strip()
        if not text.strip():
            self._on_context(None)  # hover at once, whatever is being read
        self._slow.instruct(text)

    def _on_context(self, context: Context | None) -> None:
        self._reading, self._refusal, pipeline = context, '', self._pipeline
        if pipeline is None:
            return
        pipeline.set_context(context)
        if context is not None:
            understood = pipeline.understands(context)
            if understood:
                self._given = self._given or context.instruction.strip()
            elif pipeline.planner is not None:
                self._given = ''  # said again the planner may have more time for it
            self.get_logger().info(f'"{context.instruction}": ' + (
                context.text if understood else 'not understood, hovering'))
            if self._active:  # at once; what is seen of it follows
                self._narration.publish(String(data=pipeline.doing(context)))

    def _on_language_error(self, instruction: str, error: Exception) -> None:
        self._on_context(None)  # what cannot be read must not leave the old order flying
        if self._given == instruction.strip():
            self._given = ''
        self._refusal = refusal(instruction, error)
        self._fail(self._refusal)
        self._narrate()

    def _narrate(self) -> None:
        if self._active and self._refusal:
            self._narration.publish(String(data=self._refusal))
        elif self._active and self._reading is not None and self._slow is not None:
            self._slow.do('narrate', self._say)

    def _say(self) -> None:
        context, pipeline = self._reading, self._pipeline
        if self._active and context is not None and pipeline is not None:
            self._narration.publish(String(data=pipeline.narration(context)))

    def _on_question(self, message: String) -> None:
        if self._active and self._slow is not None:
            self._slow.do('answer', lambda: self._reply(message.data))

    def _reply(self, question: str) -> None:
        pipeline = self._pipeline
        if pipeline is not None:
            try:
                text = pipeline.ask(question).text
            except InstructionError as error:
                self._fail(text := str(error))
            self._answer.publish(String(data=text))

    # --- services, parameters, diagnostics ---

    def _on_enable(self, request: SetBool.Request,
                   response: SetBool.Response) -> SetBool.Response:
        if self._enabled and not request.data and self._active:
            self._send(self._gate.zero(self._stamp_ns, 'disabled'))
        if request.data and not self._enabled and self._pipeline is not None:
            self._pipeline.reset()  # steps and adaptation of a time when others flew are nothing
        self._enabled = bool(request.data)
        response.success, response.message = True, 'enabled' if self._enabled else 'disabled'
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is not None:
            self._pipeline.reset()
        response.success, response.message = True, 'the recurrent state is cleared'
        return response

    def _on_parameters(self, changed: list[Parameter]) -> Any:
        config, result = parameters.on_change(self, VlaNodeConfig, changed)
        if config is None:
            return result
        self.config = config
        self._gate.config = config.safety
        if self._pipeline is not None:
            self._pipeline.config = config.pipeline
            self._pipeline.adaptation.config = config.adaptation
        names = {p.name for p in changed}
        if 'node.enabled' in names:
            self._on_enable(SetBool.Request(data=config.node.enabled), SetBool.Response())
        if 'pipeline.instruction' in names:
            self._instruct(config.pipeline.instruction)
        return result

    def _fail(self, text: str) -> None:
        self._error, self._error_at = text, time.monotonic()
        self.get_logger().error(text, throttle_duration_sec=LOG_EVERY_S)

    def _report(self) -> None:
        now, context = time.monotonic(), self._reading
        adaptation = {} if self._pipeline is None else self._pipeline.adaptation.state()
        age = None if self._last_good is None else now - self._last_good
        level, message = diagnostics.OK, 'flying'
        if self._pipeline is None and self._error:
            level, message = diagnostics.ERROR, self._error
        elif not self._active:
            message = 'not active'
        elif now - self._error_at < 2 * self.config.node.diagnostics_period:
            level, message = diagnostics.ERROR, self._error
        elif age is None or age > self.config.safety.stale_after:
            level, message = diagnostics.WARN, diagnostics.no_images(
                self, IMAGES, now - self._active_since if age is None else 0.0)
        elif not self._enabled:
            message = 'disabled'
        elif self._refusal:
            level, message = diagnostics.WARN, self._refusal
        elif context is None:
            message = 'no instruction: hovering'
        elif dark := self._doing.get('dark_s', 0.0):
            why = 'camera repeats itself' if self._doing.get('hangs') else 'picture shows nothing'
            level, message = diagnostics.WARN, f'the {why} since {dark:.1f} s'
        elif (covered := self._doing.get('covered', 0.0)) > COVERED:
            level, message = diagnostics.WARN, f'dirt on {covered:.0%} of the picture'
        name = self.get_fully_qualified_name().lstrip('/')
        self._diagnostics.publish(diagnostics.array(
            self.get_clock().now().to_msg(), f'{name}: pilot', 'edge_vla', level, message, {
                'rate [Hz]': f'{self._interval.rate():.1f}',
                'receive to command p50/p95/p99 [ms]': self._busy.percentiles(),
                'stamp to command p50/p95/p99 [ms]': self._delay.percentiles(),
                'frame age [s]': 'none' if age is None else f'{age:.3f}',
                'frames': self._frames, 'frames dropped': self._dropped,
                'frames refused': self._refused, 'times without images': self._lost,
                'dirt on the lens': f'{self._doing.get("covered", 0.0):.3f}',
                'tokens': self._doing.get('tokens', 0),
                'memory [MB]': f'{memory_mb():.0f}',
                'safety': self._state, 'enabled': self._enabled,
                'instruction': shortened(self._instruction),
                'plan': 'none' if context is None else context.text,
                'confidence': 'none' if context is None else f'{context.confidence:.3f}',
                'step': self._doing.get('step', 0), 'doing': self._doing.get('doing', 'nothing'),
                **diagnostics.spelled('adaptation', adaptation),
                'last error': self._error or 'none'}))


def main() -> int:
    """Run the node."""
    return spin.run(VlaNode, 'vla_node')


if __name__ == '__main__':
    raise SystemExit(main())
