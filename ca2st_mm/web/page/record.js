// Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
// Records a clip with camera and microphone.

const LONGEST = 60000; // milliseconds
let recorder = null;

// Start, or stop what runs.  A started recording resolves to its blob, a
// stop to null.
export async function recordClip(button, player) {
  if (recorder) {
    recorder.stop();
    return null;
  }
  const stream = await open();
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  button.textContent = 'stop';
  button.classList.add('on');
  player.hidden = false;
  player.removeAttribute('src');
  player.srcObject = stream;
  player.muted = true;
  player.play();
  const timer = setTimeout(() => recorder?.stop(), LONGEST);
  await stopped;
  clearTimeout(timer);
  for (const track of stream.getTracks()) track.stop();
  player.srcObject = null;
  player.muted = false;
  recorder = null;
  button.textContent = 'record';
  button.classList.remove('on');
  return new Blob(pieces, { type: pieces[0]?.type });
}

async function open() {
  if (!navigator.mediaDevices) {
    throw new Error('Browsers give camera and microphone only to pages of '
      + 'localhost or https; open this page there, or choose a file.');
  }
  try {
    return await navigator.mediaDevices.getUserMedia(
      { video: true, audio: true });
  } catch (error) {
    throw new Error('The browser gives no camera and microphone '
      + `(${error.message}); allow them, or choose a file.`);
  }
}
