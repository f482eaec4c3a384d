"""The process that runs mediapipe's two pose networks; started by `mediapipe_client` inside the detector environment.

It imports nothing of this package. mediapipe's ready-made graph gives one person per image; here its two halves are
built as graphs of their own: the person detector, which finds several people, and the landmark network, which looks at
any square (possibly rotated) region, with one of two sets of weights: `full`, which comes with mediapipe, and `heavy`,
where its file was added. Calculator options are those of `pose_landmark_cpu` in mediapipe 0.10.21.

Messages, both ways: two little-endian uint32 (length of a JSON header, length of a payload), header, payload.

`op`        | header                                              | payload   | reply
------------|-----------------------------------------------------|-----------|--------------------------------------
`hello`     |                                                     |           | `versions`
`image`     | `height width`                                      | uint8 RGB |
`detect`    | `tiles` (x0 y0 x1 y1), `min_score`                  |           | `tile score box points`
`landmarks` | `regions` (cx cy side angle), `mask_size`, `network` |           | `score landmarks world mask`
`exit`      |                                                     |           |

Shapes of replies, for n findings: `tile (n) score (n) box (n,4) points (n,4,2)`, and for n regions: `score (n)
landmarks (n,35,5) world (n,33,3) mask (n,side,side)`. `network` is `full` or `heavy`.

Array replies list `name, dtype, shape` in the header and lie one after the other in the payload. Coordinates are in
pixels of the image, (0, 0) the centre of the top-left one. A failed request replies `error`. Every request has a
`number`, which its reply repeats.
"""

import json
import os
import struct
import sys

if __name__ == "__main__":
    # Only when run: the libraries exist in the detector environment alone. The protocol owns the real stdout;
    # whatever the C++ code prints goes to the null device, unless asked for.
    _PROTOCOL_OUT = os.fdopen(os.dup(1), "wb")
    _PROTOCOL_IN = os.fdopen(os.dup(0), "rb")
    _SINK = os.open(os.devnull, os.O_WRONLY)
    os.dup2(_SINK, 1)
    if not os.environ.get("HMRALIGN_DETECTOR_VERBOSE"):
        os.dup2(_SINK, 2)
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("MPLBACKEND", "Agg")

    import cv2
    import mediapipe
    import numpy as np
    from mediapipe.python import packet_creator, packet_getter
    from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

DETECTOR_SIZE = 224
LANDMARK_SIZE = 256
NUM_LANDMARKS = 35
"""33 body landmarks and the two alignment points (middle of the hips, a point on the circle around the body)."""

DETECTOR_GRAPH = """
input_stream: "image"
output_stream: "detections"
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  output_stream: "LETTERBOX_PADDING:padding"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] { output_tensor_width: 224 output_tensor_height: 224
    keep_aspect_ratio: true output_tensor_float_range { min: -1 max: 1 } gpu_origin: TOP_LEFT
    border_mode: BORDER_ZERO } } }
node { calculator: "SsdAnchorsCalculator" output_side_packet: "anchors"
  options { [mediapipe.SsdAnchorsCalculatorOptions.ext] { input_size_width: 224 input_size_height: 224
    min_scale: 0.1484375 max_scale: 0.75 anchor_offset_x: 0.5 anchor_offset_y: 0.5 num_layers: 5 strides: 8
    strides: 16 strides: 32 strides: 32 strides: 32 aspect_ratios: 1 fixed_anchor_size: true } } }
node { calculator: "InferenceCalculatorCpu" input_stream: "TENSORS:input" output_stream: "TENSORS:output"
  options { [mediapipe.InferenceCalculatorOptions.ext] {
    model_path: "mediapipe/modules/pose_detection/pose_detection.tflite" delegate { xnnpack { num_threads: 1 } } } } }
node { calculator: "TensorsToDetectionsCalculator" input_stream: "TENSORS:output"
  output_stream: "DETECTIONS:unfiltered" input_side_packet: "ANCHORS:anchors"
  options { [mediapipe.TensorsToDetectionsCalculatorOptions.ext] { num_classes: 1 num_boxes: 2254 num_coords: 12
    x_scale: 224 y_scale: 224 w_scale: 224 h_scale: 224 keypoint_coord_offset: 4 num_keypoints: 4
    num_values_per_keypoint: 2 box_coord_offset: 0 reverse_output_order: true sigmoid_score: true
    score_clipping_thresh: 100 min_score_thresh: 0.1 } } }
node { calculator: "NonMaxSuppressionCalculator" input_stream: "unfiltered" output_stream: "filtered"
  options { [mediapipe.NonMaxSuppressionCalculatorOptions.ext] { min_suppression_threshold: 0.3
    overlap_type: INTERSECTION_OVER_UNION algorithm: WEIGHTED } } }
node { calculator: "DetectionLetterboxRemovalCalculator" input_stream: "DETECTIONS:filtered"
  input_stream: "LETTERBOX_PADDING:padding" output_stream: "DETECTIONS:detections" }
"""

LANDMARK_GRAPH = """
input_stream: "image"
output_stream: "score"
output_stream: "landmarks"
output_stream: "world"
output_stream: "mask"
node { calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] { output_tensor_width: 256 output_tensor_height: 256
    keep_aspect_ratio: true output_tensor_float_range { min: 0 max: 1 } } } }
node { calculator: "InferenceCalculatorCpu" input_stream: "TENSORS:input" output_stream: "TENSORS:output"
  options { [mediapipe.InferenceCalculatorOptions.ext] {
    model_path: "mediapipe/modules/pose_landmark/pose_landmark_NETWORK.tflite"
    delegate { xnnpack { num_threads: 1 } } } } }
node { calculator: "SplitTensorVectorCalculator" input_stream: "output" output_stream: "landmark_tensor"
  output_stream: "flag_tensor" output_stream: "mask_tensor" output_stream: "heatmap_tensor"
  output_stream: "world_tensor"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] { ranges { begin: 0 end: 1 } ranges { begin: 1 end: 2 }
    ranges { begin: 2 end: 3 } ranges { begin: 3 end: 4 } ranges { begin: 4 end: 5 } } } }
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:flag_tensor" output_stream: "FLOAT:score" }
node { calculator: "TensorsToLandmarksCalculator" input_stream: "TENSORS:landmark_tensor"
  output_stream: "NORM_LANDMARKS:raw"
  options { [mediapipe.TensorsToLandmarksCalculatorOptions.ext] { num_landmarks: 39 input_image_width: 256
    input_image_height: 256 visibility_activation: SIGMOID presence_activation: SIGMOID } } }
node { calculator: "RefineLandmarksFromHeatmapCalculator" input_stream: "NORM_LANDMARKS:raw"
  input_stream: "TENSORS:heatmap_tensor" output_stream: "NORM_LANDMARKS:landmarks"
  options { [mediapipe.RefineLandmarksFromHeatmapCalculatorOptions.ext] { kernel_size: 7 } } }
node { calculator: "TensorsToLandmarksCalculator" input_stream: "TENSORS:world_tensor" output_stream: "LANDMARKS:world"
  options { [mediapipe.TensorsToLandmarksCalculatorOptions.ext] { num_landmarks: 39 } } }
node { calculator: "TensorsToSegmentationCalculator" input_stream: "TENSORS:mask_tensor" output_stream: "MASK:mask"
  options { [mediapipe.TensorsToSegmentationCalculatorOptions.ext] { gpu_origin: TOP_LEFT activation: SIGMOID } } }
"""


class Graph:
    """A started graph that is fed one image at a time."""

    def __init__(self, text, outputs):
        self._latest = {}
        self._time = 0
        self._graph = calculator_graph.CalculatorGraph(graph_config=text)
        for name in outputs:
            self._graph.observe_output_stream(name, self._latest.__setitem__, True)
        self._graph.start_run({})

    def __call__(self, image):
        """Feed a contiguous uint8 RGB image; returns the packets by stream name."""
        self._latest.clear()
        self._time += 1
        frame = packet_creator.create_image_frame(image_format=image_frame.ImageFormat.SRGB, data=image)
        self._graph.add_packet_to_input_stream("image", frame.at(self._time))
        self._graph.wait_until_idle()
        return self._latest


class Worker:
    """Holds the graphs and the current image with its halved copies."""

    def __init__(self):
        resource_util.set_resource_dir(os.path.dirname(os.path.dirname(str(mediapipe.__file__))))
        self._detector = Graph(DETECTOR_GRAPH, ["detections"])
        self._landmarkers = {}
        self._levels = []

    def answer(self, header, payload):
        """Header and arrays that reply to one request."""
        op = header["op"]
        if op == "hello":
            return {"versions": {"mediapipe": mediapipe.__version__, "numpy": np.__version__, "cv2": cv2.__version__,
                                 "python": sys.version.split()[0]}}, {}  # fmt: skip
        if op == "image":
            self._set_image(np.frombuffer(payload, np.uint8).reshape(header["height"], header["width"], 3))
            return {}, {}
        if not self._levels:
            raise ValueError("no image was sent yet")
        if op == "detect":
            return {}, self._detect(header["tiles"], header["min_score"])
        if op == "landmarks":
            return {}, self._landmarks(header["regions"], header["mask_size"], header.get("network", "full"))
        raise ValueError(f"unknown op {op!r}")

    def _set_image(self, image):
        """Keep the image and copies halved by area averaging, so that shrinking never aliases."""
        self._levels = [np.ascontiguousarray(image)]
        while min(self._levels[-1].shape[:2]) > 2 * LANDMARK_SIZE:
            height, width = self._levels[-1].shape[:2]
            half = cv2.resize(self._levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            self._levels.append(half)

    def _detect(self, tiles, min_score):
        image = self._levels[0]
        height, width = image.shape[:2]
        rows = {"tile": [], "score": [], "box": [], "points": []}
        for index, (x0, y0, x1, y1) in enumerate(tiles):
            x0, y0 = max(0, round(x0)), max(0, round(y0))
            x1, y1 = min(width, round(x1)), min(height, round(y1))
            if x1 - x0 < 2 or y1 - y0 < 2:
                continue
            size = np.array([x1 - x0, y1 - y0], np.float64)
            shrunk = np.maximum(1, np.round(size * min(1.0, DETECTOR_SIZE / size.max()))).astype(int)
            crop = cv2.resize(image[y0:y1, x0:x1], tuple(int(s) for s in shrunk), interpolation=cv2.INTER_AREA)
            packets = self._detector(np.ascontiguousarray(crop))
            if "detections" not in packets or packets["detections"].is_empty():
                continue
            for detection in packet_getter.get_proto_list(packets["detections"]):
                if detection.score[0] < min_score:
                    continue
                place = detection.location_data
                bounds = place.relative_bounding_box
                corner = np.array([bounds.xmin, bounds.ymin])
                extent = np.array([bounds.width, bounds.height])
                origin = np.array([x0, y0]) - 0.5
                rows["tile"].append(index)
                rows["score"].append(detection.score[0])
                rows["box"].append(np.concatenate([origin + corner * size, origin + (corner + extent) * size]))
                rows["points"].append([origin + np.array([p.x, p.y]) * size for p in place.relative_keypoints])
        shapes = {"tile": (-1,), "score": (-1,), "box": (-1, 4), "points": (-1, 4, 2)}
        return {name: np.array(rows[name], np.float32).reshape(shape) for name, shape in shapes.items()}

    def _landmarker(self, network):
        """The landmark graph with one set of weights, built when it is first asked for."""
        if network not in ("full", "heavy"):
            raise ValueError(f"unknown network {network!r}")
        if network not in self._landmarkers:
            text = LANDMARK_GRAPH.replace("NETWORK", network)
            self._landmarkers[network] = Graph(text, ["score", "landmarks", "world", "mask"])
        return self._landmarkers[network]

    def _landmarks(self, regions, mask_size, network):
        count = len(regions)
        landmarker = self._landmarker(network)
        score = np.zeros(count, np.float32)
        landmarks = np.zeros((count, NUM_LANDMARKS, 5), np.float32)
        world = np.zeros((count, 33, 3), np.float32)
        mask = np.zeros((count, mask_size, mask_size), np.uint8)
        for i, region in enumerate(regions):
            crop, to_image = self._crop(region)
            packets = landmarker(crop)
            score[i] = packet_getter.get_float(packets["score"])
            points = packet_getter.get_proto(packets["landmarks"]).landmark[:NUM_LANDMARKS]
            inside = np.array([[p.x * LANDMARK_SIZE - 0.5, p.y * LANDMARK_SIZE - 0.5, 1.0] for p in points])
            landmarks[i, :, :2] = inside @ to_image.T
            landmarks[i, :, 2:] = [[p.z * region[2], p.visibility, p.presence] for p in points]
            turn = to_image[:, :2] / np.linalg.norm(to_image[:, 0])
            metric = packet_getter.get_proto(packets["world"]).landmark[:33]
            world[i] = [[p.x, p.y, p.z] for p in metric]
            world[i, :, :2] = world[i, :, :2] @ turn.T
            if mask_size:
                alpha = np.array(packet_getter.get_image(packets["mask"]).numpy_view(), np.float32)
                alpha = alpha[..., 0] if alpha.ndim == 3 else alpha
                small = cv2.resize(alpha, (mask_size, mask_size), interpolation=cv2.INTER_AREA)
                mask[i] = np.clip(np.round(small * 255), 0, 255).astype(np.uint8)
        return {"score": score, "landmarks": landmarks, "world": world, "mask": mask}

    def _crop(self, region):
        """Cut a square region turned by `angle` (radians, clockwise in the image); also the map (2, 3) to the image."""
        cx, cy, side, angle = region
        scale = side / LANDMARK_SIZE
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        centre = (LANDMARK_SIZE - 1) / 2
        linear = np.array([[cosine, -sine], [sine, cosine]])
        to_image = np.column_stack([linear, np.array([cx, cy]) - linear @ [centre, centre]])
        level = 0
        while level + 1 < len(self._levels) and scale / 2**level > 1.5:
            level += 1
        image = self._levels[level]
        shrink = np.array([image.shape[1] / self._levels[0].shape[1], image.shape[0] / self._levels[0].shape[0]])
        to_level = to_image.copy()
        to_level[:, 2] += 0.5
        to_level *= shrink[:, None]
        to_level[:, 2] -= 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, to_level, (LANDMARK_SIZE, LANDMARK_SIZE), flags=flags), to_image


def read_exactly(stream, count):
    """`count` bytes of the stream, or None when it ends before."""
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def send(header, arrays):
    """Write one message with arrays as its payload."""
    header = dict(header, arrays=[[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()])
    text = json.dumps(header).encode()
    payload = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())
    _PROTOCOL_OUT.write(struct.pack("<II", len(text), len(payload)) + text + payload)
    _PROTOCOL_OUT.flush()


def main():
    """Answer requests until told to stop or until the other side is gone."""
    cv2.setNumThreads(1)
    worker = Worker()
    while True:
        lengths = read_exactly(_PROTOCOL_IN, 8)
        if lengths is None:
            return
        header_length, payload_length = struct.unpack("<II", lengths)
        text = read_exactly(_PROTOCOL_IN, header_length)
        payload = read_exactly(_PROTOCOL_IN, payload_length)
        if text is None or payload is None:
            return
        header = json.loads(text)
        if header.get("op") == "exit":
            return
        try:
            reply, arrays = worker.answer(header, payload)
        except Exception as error:  # the other side decides what to do with it
            reply, arrays = {"error": f"{type(error).__name__}: {error}"}, {}
        send({**reply, "number": header.get("number")}, arrays)


if __name__ == "__main__":
    main()
    _PROTOCOL_OUT.close()
    # mediapipe's threads may outlive main; nothing is left to save.
    os._exit(0)
