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


"""What Gazebo's bridge, RViz and Foxglove talk about exists in the nodes, with that type."""

from collections.abc import Iterator
from importlib import import_module
import json
from pathlib import Path
import re
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed: no live tests')

from edge_vla.ros import sim_node as sim_node_module  # noqa: E402, I100
from edge_vla.ros.session import free_domain  # noqa: E402
from edge_vla.ros.sim_node import SimNode  # noqa: E402
from edge_vla.ros.vla_node import VlaNode  # noqa: E402
from edge_vla.sim.gazebo_vehicle import BODY_FRAME, CAMERA_FRAME, ODOMETRY_FRAME  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import ReliabilityPolicy  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402

# Which message types every ros_gz_bridge from Humble on turns into each other, as its page says.
CONVERTED = {'sensor_msgs/msg/Image': 'Image', 'sensor_msgs/msg/CameraInfo': 'CameraInfo',
             'nav_msgs/msg/Odometry': 'Odometry', 'geometry_msgs/msg/TwistStamped': 'Twist',
             'tf2_msgs/msg/TFMessage': 'Pose_V', 'rosgraph_msgs/msg/Clock': 'Clock'}
TF = {'/tf': 'tf2_msgs/msg/TFMessage'}  # sim_node's too, but not where tf2_msgs is missing
SHOWN = {'Image': 'sensor_msgs/msg/Image', 'Odometry': 'nav_msgs/msg/Odometry',
         'TwistStamped': 'geometry_msgs/msg/TwistStamped'}


class Interface:
    """Topics and services of a node: types by name, and what its publishers offer."""

    def __init__(self, node: Any) -> None:
        who = node.get_name(), node.get_namespace()
        self.out, self.into, self.services = (
            {name: kinds[0] for name, kinds in ask(*who)} for ask in (
                node.get_publisher_names_and_types_by_node,
                node.get_subscriber_names_and_types_by_node,
                node.get_service_names_and_types_by_node))
        self.reliable = {
            name: node.get_publishers_info_by_topic(name)[0].qos_profile.reliability
            == ReliabilityPolicy.RELIABLE for name in self.out}


@pytest.fixture(scope='module')
def interfaces(tmp_path_factory) -> Iterator[tuple[Interface, Interface]]:  # noqa: ANN001
    """Yield what vla_node and sim_node really offer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('log')))
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=free_domain(),
                   signal_handler_options=SignalHandlerOptions.NO)
        pilot = VlaNode(context=context, parameter_overrides=[
            Parameter('autostart', value=False)])
        simulator = SimNode(context=context)
        try:
            assert pilot.trigger_configure() == TransitionCallbackReturn.SUCCESS
            yield Interface(pilot), Interface(simulator)
        finally:
            pilot.close()
            for node in (pilot, simulator):
                node.destroy_node()
            context.try_shutdown()


@pytest.fixture(scope='module')
def bridge(root: Path) -> list[dict[str, str]]:
    """Return the entries of the bridge."""
    return yaml.safe_load((root / 'config' / 'ros_gz_bridge.yaml').read_text())


def absolute(name: str) -> str:
    """Return a topic as it is without a namespace."""
    return name if name.startswith('/') else f'/{name}'


def test_the_bridge_fits_the_nodes(bridge: list, interfaces: tuple) -> None:
    pilot, simulator = interfaces
    incoming, outgoing = {}, {}
    for entry in bridge:
        assert set(entry) == {'ros_topic_name', 'gz_topic_name', 'ros_type_name', 'gz_type_name',
                              'direction'}
        assert entry['gz_type_name'] == f'gz.msgs.{CONVERTED[entry["ros_type_name"]]}'
        way = {'GZ_TO_ROS': incoming, 'ROS_TO_GZ': outgoing}[entry['direction']]
        name = absolute(entry['ros_topic_name'])
        assert name not in incoming | outgoing
        way[name] = entry['ros_type_name']
    # Gazebo stands where sim_node stood
    assert incoming == {n: t for n, t in simulator.out.items() if n in incoming} | TF
    assert set(simulator.out) - {'/diagnostics', '/rosout', '/parameter_events'} <= set(incoming)
    assert outgoing == {n: t for n, t in simulator.into.items() if n in pilot.out}
    for name in ('/image', '/odom'):
        assert incoming[name] == pilot.into[name]
    for name, kind in outgoing.items():
        assert pilot.out[name] == kind


def test_the_bridge_fits_the_model(bridge: list, root: Path) -> None:
    file = root / 'models' / 'edge_vla_quadrotor' / 'model.sdf'
    model = ElementTree.parse(file).getroot().find('model')
    plugins = {p.get('name').split('::')[-1]: p for p in model.findall('plugin')}
    odometry, control = plugins['OdometryPublisher'], plugins['MulticopterVelocityControl']
    camera = model.find(".//sensor[@type='camera']")
    there = {'Image': camera.findtext('topic'),
             'CameraInfo': camera.findtext('camera/camera_info_topic'),
             'Odometry': odometry.findtext('odom_topic'), 'Pose_V': odometry.findtext('tf_topic'),
             'Twist': '/' + control.findtext('robotNamespace') + '/' + control.findtext(
                 'commandSubTopic'), 'Clock': '/clock'}
    assert {e['gz_type_name'].removeprefix('gz.msgs.'): e['gz_topic_name']
            for e in bridge} == there
    assert camera.findtext('camera/optical_frame_id') == CAMERA_FRAME
    assert sim_node_module.CAMERA_FRAME == CAMERA_FRAME
    assert odometry.findtext('odom_frame') == ODOMETRY_FRAME
    assert odometry.findtext('robot_base_frame') == BODY_FRAME == control.findtext('comLinkName')
    assert odometry.findtext('dimensions') == '3'


def test_rviz_shows_what_is_published(root: Path, interfaces: tuple) -> None:
    pilot, simulator = interfaces
    manager = yaml.safe_load((root / 'config' / 'edge_vla.rviz').read_text())[
        'Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == ODOMETRY_FRAME
    shown = [d for d in manager['Displays'] if 'Topic' in d]
    out, reliable = simulator.out | pilot.out, simulator.reliable | pilot.reliable
    assert {d['Topic']['Value'] for d in shown} == {
        '/image', '/vla_node/debug/image', '/odom', '/cmd_vel'}
    for display in shown:
        topic, kind = display['Topic'], display['Class'].removeprefix('rviz_default_plugins/')
        assert out[topic['Value']] == SHOWN[kind]
        assert topic['Reliability Policy'] == 'Best Effort' or reliable[topic['Value']], \
            f'{topic["Value"]} is sent as best effort: RViz would hear nothing'
        assert topic['Durability Policy'] == 'Volatile'
    names = [d['Name'] for d in manager['Displays']]
    assert len(names) == len(set(names))
    assert any(d['Class'].endswith('/TF') for d in manager['Displays'])


def everywhere(tree: Any, key: str) -> Iterator[Any]:
    """Yield every value of a key in nested objects."""
    if isinstance(tree, dict):
        for k, v in tree.items():
            if k == key:
                yield v
            yield from everywhere(v, key)
    elif isinstance(tree, list):
        for v in tree:
            yield from everywhere(v, key)


def fields(kind: str) -> dict[str, str]:
    """Return the fields of a message, or of a request, and their types."""
    package, _, name = kind.split('/')
    found = getattr(import_module(f'{package}.{kind.split("/")[1]}'), name)
    return getattr(found, 'Request', found).get_fields_and_field_types()


def follow(path: str, out: dict[str, str]) -> str:
    """Return the type of a message path like /odom.twist.twist.linear.x."""
    topic, *names = path.split('.')
    kind = out[topic]
    for name in names:
        kind = fields('/msg/'.join(kind.split('/', 1)) if kind.count('/') == 1 else kind)[name]
    return kind


def test_foxglove_shows_what_is_published(root: Path, interfaces: tuple) -> None:
    pilot, simulator = interfaces
    layout = json.loads((root / 'config' / 'foxglove_layout.json').read_text())
    panels, out = layout['configById'], simulator.out | pilot.out
    placed = set(re.findall(r"'([A-Za-z0-9]+![a-z]+)'", repr(layout['layout'])))
    assert placed == set(panels), 'every panel has its place'
    named = {v for key in ('imageTopic', 'topicToRender', 'topicName', 'serviceName')
             for v in everywhere(panels, key)}
    images = list(everywhere(panels, 'imageTopic'))
    assert images == ['/image', '/vla_node/debug/image']
    assert all(out[name] == 'sensor_msgs/msg/Image' for name in images)
    assert [out[n] for n in everywhere(panels, 'topicToRender')] == [
        'diagnostic_msgs/msg/DiagnosticArray']
    plotted = [p['value'] for paths in everywhere(panels, 'paths') for p in paths]
    assert len(plotted) == 8
    assert all(follow(path, out) == 'double' for path in plotted)
    assert [follow(path, out) for path in everywhere(panels, 'topicPath')] == ['string']
    for visible in everywhere(panels, 'topics'):
        assert set(visible) <= set(out)
    publish = panels['Publish!instruction']
    assert pilot.into[publish['topicName']] == publish['datatype']
    assert set(json.loads(publish['value'])) == set(fields(publish['datatype']))
    call = panels['CallService!enable']
    kind = pilot.services[call['serviceName']]
    assert set(json.loads(call['requestPayload'])) == set(fields(kind))
    assert named == {*images, '/diagnostics', '/instruction', '/vla_node/enable'}
    assert {panels['3D!flight']['followTf'],
            *everywhere(panels['3D!flight']['layers'], 'frameId')} == {BODY_FRAME, ODOMETRY_FRAME}
