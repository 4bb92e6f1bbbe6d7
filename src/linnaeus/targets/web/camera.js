// The camera: answers some times per second.

const PAUSE_MS = 200; // between two looks: the page stays awake to clicks, and a phone cool
const FACING = { back: "environment", front: "user" };

class Camera {
  /**
   * @param video Where it is shown.
   * @param look async (video) => void; called again and again while the camera is on.
   */
  constructor(video, look) {
    Object.assign(this, { video, look, stream: null, turn: 0 });
  }

  get on() {
    return this.stream !== null;
  }

  /** Start, or change to another one: "back", "front", or a device's id. Throws what getUserMedia throws. */
  async start(which) {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "NoApi");
    this.stop();
    const turn = this.turn;
    const chosen = FACING[which] ? { facingMode: { ideal: FACING[which] } } : { deviceId: { exact: which } };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...chosen, width: { ideal: 1280 } } });
    if (turn !== this.turn) return stream.getTracks().forEach((track) => track.stop()); // stopped while it was asked for
    this.stream = stream;
    this.video.srcObject = stream;
    const facing = stream.getVideoTracks()[0].getSettings().facingMode;
    this.video.classList.toggle("mirrored", facing === "user");
    stream.getVideoTracks()[0].addEventListener("ended", () => this.stop());
    await this.video.play();
    this.watch(turn);
  }

  async watch(turn) {
    while (turn === this.turn) {
      if (this.video.readyState >= 2 && !document.hidden) await this.look(this.video);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  stop() {
    this.turn++;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
  }

  /** List the cameras by id and name, as far as the browser tells. */
  async list() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((one) => one.kind === "videoinput" && one.deviceId).map((one) => [one.deviceId, one.label]);
  }
}

/** Say why there is no camera. */
function cameraTrouble(error) {
  const known = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "no_camera", OverconstrainedError: "no_camera",
    NotReadableError: "busy", AbortError: "busy", NoApi: "no_api" };
  return say(known[error.name] ?? "camera_error", { error: error.message });
}
