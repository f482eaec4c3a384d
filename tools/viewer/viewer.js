// Viewer of the HTML report: tabs for the persons, and one orbitable view of their meshes.
//
// Meshes arrive as int16 in the camera's frame (x right, y down, z forward, metres = center + step * value). three.js
// looks along -z with y up, so points are turned by 180 degrees about x: (x, -y, -z).
import {
  BufferAttribute,
  BufferGeometry,
  Color,
  DirectionalLight,
  DoubleSide,
  HemisphereLight,
  Mesh,
  MeshStandardMaterial,
  PerspectiveCamera,
  Scene,
  SRGBColorSpace,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

const NEAR = 0.05;
const FAR = 200;
const BODY = new Color().setRGB(0.55, 0.7, 0.88, SRGBColorSpace);
const FUSED = new Color().setRGB(0.93, 0.72, 0.42, SRGBColorSpace);

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const int16 = (text) => new Int16Array(bytes(text).buffer);

class Bodies {
  // The meshes of one person, decoded when first asked for.
  constructor(person, faces) {
    this.person = person;
    this.index = new BufferAttribute(faces, 1);
    this.packed = int16(person.vertices);
    this.geometries = new Map();
    this.spread = person.spread ? new BufferAttribute(linearColors(bytes(person.spread)), 3) : null;
    // A clip has doubt of its own at every moment: a level per vertex, and the colours of the levels.
    this.levels = person.levels ? bytes(person.levels) : null;
    this.ramp = person.levels ? linearColors(bytes(person.ramp)) : null;
  }

  colors(number) {
    if (!this.levels) return this.spread;
    const count = this.person.numVertices;
    const out = new Float32Array(count * 3);
    for (let i = 0; i < count; i++) {
      const level = this.levels[number * count + i] * 3;
      out.set(this.ramp.subarray(level, level + 3), 3 * i);
    }
    return new BufferAttribute(out, 3);
  }

  geometry(number) {
    if (!this.geometries.has(number)) {
      const length = this.person.numVertices * 3;
      const packed = this.packed.subarray(number * length, (number + 1) * length);
      const [cx, cy, cz] = this.person.center;
      const step = this.person.step;
      const positions = new Float32Array(length);
      for (let i = 0; i < length; i += 3) {
        positions[i] = cx + step * packed[i];
        positions[i + 1] = -(cy + step * packed[i + 1]);
        positions[i + 2] = -(cz + step * packed[i + 2]);
      }
      const geometry = new BufferGeometry();
      geometry.setAttribute("position", new BufferAttribute(positions, 3));
      geometry.setIndex(this.index);
      const colors = this.colors(number);
      if (colors) geometry.setAttribute("color", colors);
      geometry.computeVertexNormals();
      geometry.computeBoundingBox();
      this.geometries.set(number, geometry);
    }
    return this.geometries.get(number);
  }
}

function linearColors(rgb) {
  const color = new Color();
  const out = new Float32Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    color.setRGB(rgb[i] / 255, rgb[i + 1] / 255, rgb[i + 2] / 255, SRGBColorSpace);
    color.toArray(out, i);
  }
  return out;
}

class Viewer {
  constructor() {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(40, 1, NEAR, FAR);
    this.scene.add(new HemisphereLight(0xffffff, 0x8a93a3, 1.5));
    this.headlight = new DirectionalLight(0xffffff, 1.7);
    this.camera.add(this.headlight, this.headlight.target);
    this.headlight.position.set(0.3, 0.5, 1);
    this.headlight.target.position.set(0, 0, -1);
    this.scene.add(this.camera);
    this.material = new MeshStandardMaterial({ roughness: 0.85, side: DoubleSide });
    this.ghostMaterial = new MeshStandardMaterial({
      color: BODY, roughness: 1, transparent: true, opacity: 0.09, depthWrite: false,
    });
    this.body = new Mesh(new BufferGeometry(), this.material);
    this.scene.add(this.body);
    this.ghosts = [];
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.enablePan = true;
    this.controls.addEventListener("start", () => this.leavePhoto());
    this.controls.addEventListener("change", () => this.draw());
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    this.observer = new ResizeObserver(() => this.resize());
    this.draws = 0;
  }

  // Move the one canvas into the stage of the person now shown.
  attach(panel, bodies) {
    this.panel = panel;
    this.stage = panel.querySelector(".stage");
    this.bodies = bodies;
    this.observer.disconnect();
    this.stage.append(this.canvas);
    this.observer.observe(this.stage);
    this.clearGhosts();
    this.resize();
    this.select(Number(panel.dataset.selected || 0));
    this.view("photo");
  }

  select(number) {
    const person = this.bodies.person;
    this.number = number;
    this.panel.dataset.selected = number;
    this.body.geometry = this.bodies.geometry(number);
    this.canvas.setAttribute("aria-label", `3D mesh: ${person.labels[number]} of ${person.name}. Arrow keys turn it.`);
    for (const button of this.panel.querySelectorAll("[data-body]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.body) === number));
    }
    this.paint();
  }

  // The colour that the page gives to the body now shown, if it gives any.
  tint() {
    const tint = this.bodies.person.tints?.[this.number];
    return tint && new Color().setRGB(...tint, SRGBColorSpace);
  }

  paint() {
    const uncertain = this.pressed("spread") && (this.bodies.spread || this.bodies.levels);
    this.panel.querySelector(".colorbar")?.classList.toggle("off", !uncertain);
    this.material.vertexColors = Boolean(uncertain);
    const fused = this.bodies.person.times || this.bodies.person.labels[this.number] === "Fused";
    this.material.color.copy(uncertain ? new Color(0xffffff) : (this.tint() ?? (fused ? FUSED : BODY)));
    this.material.needsUpdate = true;
    this.clearGhosts();
    if (this.pressed("all")) {
      for (let i = 0; i < this.bodies.person.labels.length; i++) {
        if (i === this.number) continue;
        const ghost = new Mesh(this.bodies.geometry(i), this.ghostMaterial);
        this.ghosts.push(ghost);
        this.scene.add(ghost);
      }
    }
    this.draw();
  }

  pressed(toggle) {
    return this.panel.querySelector(`[data-toggle="${toggle}"]`)?.getAttribute("aria-pressed") === "true";
  }

  clearGhosts() {
    for (const ghost of this.ghosts) this.scene.remove(ghost);
    this.ghosts = [];
  }

  middle() {
    return this.body.geometry.boundingBox.getCenter(new Vector3());
  }

  view(name) {
    const target = this.middle();
    const size = this.body.geometry.boundingBox.getSize(new Vector3());
    const reach = Math.max(size.x, size.y, size.z);
    this.inPhoto = name === "photo";
    this.controls.target.copy(target);
    if (this.inPhoto) {
      this.camera.position.set(0, 0, 0);
      this.camera.rotation.set(0, 0, 0);
      this.controls.target.set(0, 0, target.z);
    } else {
      // Far enough for little perspective; the same sides as the small pictures in the list.
      const away = { front: [0, 0, 1], side: [-1, 0, 0], top: [0, 1, 1e-4] }[name];
      this.camera.fov = 26;
      const narrow = Math.min(1, this.camera.aspect);
      const distance = (0.62 * reach) / Math.tan((this.camera.fov * Math.PI) / 360) / narrow;
      this.camera.position.copy(target).addScaledVector(new Vector3(...away), distance);
      this.controls.update();
    }
    this.markView(name);
    this.project();
    this.draw();
  }

  markView(name) {
    this.stage.classList.toggle("in-photo", this.inPhoto);
    for (const button of this.panel.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
  }

  // The reader starts to orbit: from the photo's camera go on with an ordinary one at the same place.
  leavePhoto() {
    if (!this.inPhoto) return;
    this.inPhoto = false;
    const fy = this.bodies.person.K[1];
    const region = this.photoRegion();
    this.camera.fov = (2 * Math.atan((region.bottom - region.top) / 2 / fy) * 180) / Math.PI;
    this.controls.target.copy(this.middle());
    this.controls.update();
    this.markView("free");
    this.project();
  }

  // What part of the photo fills the canvas, in pixel borders, when the window is shown whole and centred.
  photoRegion() {
    const [left, top, right, bottom] = this.bodies.person.window;
    const scale = Math.min(this.width / (right - left), this.height / (bottom - top));
    const halfWidth = this.width / scale / 2;
    const halfHeight = this.height / scale / 2;
    const x = (left + right) / 2;
    const y = (top + bottom) / 2;
    return { left: x - halfWidth, right: x + halfWidth, top: y - halfHeight, bottom: y + halfHeight };
  }

  project() {
    if (!this.inPhoto) {
      this.camera.updateProjectionMatrix();
      return;
    }
    const [fx, fy, cx, cy] = this.bodies.person.K;
    const region = this.photoRegion();
    const x = (border) => (NEAR * (border - 0.5 - cx)) / fx;
    const y = (border) => (-NEAR * (border - 0.5 - cy)) / fy;
    this.camera.projectionMatrix.makePerspective(
      x(region.left), x(region.right), y(region.top), y(region.bottom), NEAR, FAR,
    );
    this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
  }

  onKey(event) {
    const turn = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!turn) return;
    event.preventDefault();
    this.leavePhoto();
    const offset = this.camera.position.clone().sub(this.controls.target);
    const radius = offset.length();
    const polar = Math.min(Math.max(Math.acos(offset.y / radius) + turn[1] * 0.15, 0.01), Math.PI - 0.01);
    const azimuth = Math.atan2(offset.x, offset.z) + turn[0] * 0.15;
    offset.set(Math.sin(polar) * Math.sin(azimuth), Math.cos(polar), Math.sin(polar) * Math.cos(azimuth));
    this.camera.position.copy(this.controls.target).addScaledVector(offset, radius);
    this.controls.update();
    this.draw();
  }

  resize() {
    this.width = Math.max(1, this.stage.clientWidth);
    this.height = Math.max(1, this.stage.clientHeight);
    this.renderer.setSize(this.width, this.height, false);
    this.camera.aspect = this.width / this.height;
    this.project();
    this.draw();
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
    this.draws += 1;
    document.documentElement.dataset.draws = this.draws;
  }
}

// The moments of a clip: a slider, a play button, the picture behind the body, and the cursor on the chart.
class Timeline {
  constructor(panel, person, onShown) {
    this.panel = panel;
    this.person = person;
    this.onShown = onShown;
    this.slider = panel.querySelector("[data-time]");
    this.play = panel.querySelector("[data-play]");
    this.said = panel.querySelector(".timeline output");
    this.timer = null;
    this.slider.addEventListener("input", () => {
      this.stop();
      this.show(Number(this.slider.value));
    });
    this.play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    this.show(Number(this.slider.value));
  }

  show(number) {
    const { times, pictures, labels } = this.person;
    this.number = number;
    this.slider.value = number;
    this.slider.setAttribute("aria-valuetext", labels[number]);
    this.said.textContent = labels[number];
    if (pictures.length) this.panel.querySelector(".backdrop").src = pictures[number];
    const cursor = this.panel.querySelector("[data-cursor]");
    if (cursor) {
      const { from, to, left, right } = cursor.dataset;
      const share = to > from ? (times[number] - from) / (to - from) : 0;
      const x = Number(left) + share * (right - left);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    this.onShown(number);
  }

  start() {
    if (this.person.times.length < 2) return;
    this.play.setAttribute("aria-pressed", "true");
    this.play.textContent = "Pause";
    const step = () => {
      const next = (this.number + 1) % this.person.times.length;
      const wait = Math.max(this.person.times[next] - this.person.times[this.number], 0.03);
      this.timer = setTimeout(() => {
        this.show(next);
        step();
      }, 1000 * Math.min(wait, 1));
    };
    step();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.setAttribute("aria-pressed", "false");
    this.play.textContent = "Play";
  }
}

function selectTab(tabs, panels, number, onShown) {
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", String(i === number));
    tab.tabIndex = i === number ? 0 : -1;
  });
  panels.forEach((panel, i) => {
    panel.hidden = i !== number;
  });
  onShown(number);
}

function wireTabs(tabs, panels, onShown) {
  const show = (number) => selectTab(tabs, panels, number, onShown);
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(i));
    tab.addEventListener("keydown", (event) => {
      const next = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const number = (next + tabs.length) % tabs.length;
      tabs[number].focus();
      show(number);
    });
  });
  // A link to #person-2 opens that person.
  const named = () => panels.findIndex((panel) => `#${panel.id}` === window.location.hash);
  const follow = () => {
    if (named() < 0) return;
    show(named());
    panels[named()].scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  show(0);
  follow();
}

function wirePanel(panel, viewer, bodiesOf) {
  for (const button of panel.querySelectorAll("[data-body]")) {
    button.addEventListener("click", () => viewer.select(Number(button.dataset.body)));
  }
  for (const button of panel.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => viewer.view(button.dataset.view));
  }
  for (const button of panel.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      viewer.paint();
    });
  }
  return () => viewer.attach(panel, bodiesOf());
}

function start() {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panels = [...document.querySelectorAll(".person")];
  let viewer = null;
  try {
    viewer = new Viewer();
  } catch (error) {
    root.classList.add("no-webgl");
  }
  root.classList.add("js");
  const faces = data.faces.map((f) => (f.wide ? new Uint32Array(bytes(f.data).buffer) : new Uint16Array(bytes(f.data).buffer)));
  const cache = new Map();
  const timelines = panels.map((panel, i) => {
    if (!data.persons[i].times) return null;
    const onShown = (number) => {
      panel.dataset.selected = number;
      if (viewer?.panel === panel) viewer.select(number);
    };
    return new Timeline(panel, data.persons[i], onShown);
  });
  const shown = panels.map((panel, i) => {
    if (!viewer) return () => {};
    return wirePanel(panel, viewer, () => {
      if (!cache.has(i)) cache.set(i, new Bodies(data.persons[i], faces[data.persons[i].faces]));
      return cache.get(i);
    });
  });
  viewer?.canvas.addEventListener("webglcontextlost", () => root.classList.add("no-webgl"));
  const stopOthers = (number) => timelines.forEach((timeline, i) => i !== number && timeline?.stop());
  if (panels.length) {
    wireTabs(tabs, panels, (number) => {
      stopOthers(number);
      shown[number]();
    });
  }
  root.dataset.viewer = viewer ? "ready" : "no-webgl";
}

start();
