// Where pictures come from: a file, a drop, the clipboard, the camera, the examples.

/** @param put(ground): {draw(context), sides} of a picture. */
function makeOpening(put) {
  /** A bitmap as a ground: it fills the canvas, and what is too much at two sides is cut off. */
  function ground(bitmap) {
    const { width, height } = bitmap;
    return {
      sides: [width, height],
      draw(context) {
        const { canvas } = context, scale = Math.max(canvas.width / width, canvas.height / height);
        const [wide, high] = [width * scale, height * scale];
        context.drawImage(bitmap, (canvas.width - wide) / 2, (canvas.height - high) / 2, wide, high);
      },
    };
  }

  async function open(file) {
    if (!file) return;
    try {
      put(ground(await createImageBitmap(file, { colorSpaceConversion: "none" }))); // the pixels as the file has them
      say(`${file.name || "The picture"} opened.`);
    } catch {
      say(`${file.name || "This"} is no picture that the browser can read.`);
    }
  }

  const pictureOf = (transfer) => [...(transfer?.files || [])].find((file) => file.type.startsWith("image/"));
  $("file").onchange = () => {
    open($("file").files[0]);
    $("file").value = ""; // the same file may be opened again
  };
  addEventListener("paste", (event) => open(pictureOf(event.clipboardData)));
  addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser leaves the page for the file
    document.body.dataset.drop = "";
  });
  addEventListener("dragleave", () => delete document.body.dataset.drop);
  addEventListener("drop", (event) => {
    event.preventDefault();
    delete document.body.dataset.drop;
    open(pictureOf(event.dataTransfer) || event.dataTransfer?.files[0]);
  });
  for (const [name, shapes] of Object.entries(EXAMPLES)) {
    const button = make("button", { type: "button", text: name });
    button.onclick = () => put({ draw: (context) => drawShapes(context, shapes) });
    $("examples").append(button);
  }

  const dialog = $("filming"), video = $("video");
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  $("camera").onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      dialog.showModal();
    } catch (error) {
      say(`The camera can't be used: ${error.message}`);
    }
  };
  $("take").onclick = async () => {
    if (!video.videoWidth) return;
    put(ground(await createImageBitmap(video)));
    dialog.close();
  };
  $("stop").onclick = () => dialog.close();
  dialog.addEventListener("close", () => {
    for (const track of video.srcObject.getTracks()) track.stop();
    video.srcObject = null;
  });
}
