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


"""Make recordings: a rosbag2 from a video."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    video = actions.add_parser('from-video', help='turn a video file into a rosbag2',
                               description='Turn a video into a rosbag2 with one image topic.')
    video.add_argument('video', type=Path, help='any file that OpenCV reads')
    video.add_argument('out', type=Path, help='folder to make')
    video.add_argument('--rate', type=float, default=0.0,
                       help="frames per second (default: the file's)")
    video.add_argument('--topic', default='', help='default /image, or /image/compressed')
    video.add_argument('--compressed', action='store_true', help='JPEG CompressedImage messages')
    video.add_argument('--storage', choices=('mcap', 'sqlite3'), default='mcap')


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from edge_vla.evaluation.bag_writer import bag_from_video
    count = bag_from_video(args.video, args.out, args.topic, args.compressed, args.storage,
                           args.rate)
    print(f'{args.out}: {count} images')
    return 0
