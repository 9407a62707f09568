// Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
// Takes a clip, asks the server about it, shows what it says.
import { drawModalities, drawNames, drawTimeline, text } from './draw.js';
import { recordClip } from './record.js';

const at = (id) => document.getElementById(id);
const room = (id) => at(id).querySelector('div');
const BODY = 'application/octet-stream';
let about, clip, asking = new AbortController();

async function ask(what, taken, options = {}) {
  const query = new URLSearchParams({ name: taken.name, ...options });
  let answer;
  try {
    answer = await fetch(`ask/${what}?${query}`, {
      method: 'POST', body: taken.blob, headers: { 'Content-Type': BODY },
      signal: taken.signal,
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer; is it still running?');
  }
  if (!answer.headers.get('Content-Type')?.startsWith('application/json')) {
    throw new Error('The server failed; its terminal says why.');
  }
  const found = await answer.json();
  if (found.error) throw new Error(found.error, { cause: found.detail });
  return found;
}

function complain({ message, cause }) {
  at('cards').hidden = at('attention').hidden = true;
  at('welcome').hidden = true;
  at('error').hidden = false;
  at('error').textContent = message;
  if (!cause) return;
  const more = document.createElement('details');
  more.append(text('summary', 'what the reader said'), text('p', cause));
  at('error').append(more);
}

function preview(blob) {
  URL.revokeObjectURL(at('player').src);
  at('unplayable').hidden = true;
  at('player').hidden = false;
  at('player').srcObject = null;
  at('player').src = URL.createObjectURL(blob);
}

const parts = {
  names: (found) => drawNames(room('names'), found),
  modalities: (found) => drawModalities(room('modalities'), found),
  timeline: (found) => drawTimeline(room('timeline'), found, (second) => {
    at('player').currentTime = second;
    at('player').scrollIntoView({ block: 'nearest' });
  }),
  attention: (found) => {
    offer(found);
    drawAttention(found);
  },
};

async function take(blob, name) {
  asking.abort();
  asking = new AbortController();
  clip = { blob, name, signal: asking.signal };
  const taken = clip;
  at('error').hidden = at('welcome').hidden = true;
  at('error').textContent = '';
  at('cards').hidden = at('attention').hidden = false;
  at('clip').textContent = name;
  // On a phone the answer comes above the video.
  document.querySelector('main').classList.add('answered');
  scrollTo(0, 0);
  document.querySelector('.choice').hidden = true;
  for (const part in parts) {
    room(part).replaceChildren(text('p', 'one moment …', 'wait'));
  }
  preview(blob);
  if (blob.size > about.max_bytes) {
    const size = (blob.size / 1e6).toFixed(1);
    complain(new Error(`${name}: it has ${size} MB and this page takes ` +
      `${about.max_bytes / 1e6} MB at most; cut it, or start the page ` +
      'with a larger --max-megabytes.'));
    return;
  }
  for (const part in parts) {
    try {
      parts[part](await ask(part, taken));
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (part === 'names') {
        complain(error);
        return;
      }
      room(part).replaceChildren(text('p', error.message, 'note'));
    }
  }
}

function offer(found) {
  if (!found.choices) return;
  document.querySelector('.choice').hidden = false;
  const layers = () => {
    const chosen = found.choices.find((one) => one.name === at('map').value);
    at('layer').replaceChildren(
      ...chosen.layers.map((layer) => new Option(layer, layer)));
    at('layer').value = chosen.layers.at(-1);
  };
  at('map').replaceChildren(
    ...found.choices.map((one) => new Option(one.text, one.name)));
  at('map').value = found.name;
  layers();
  at('layer').value = found.layer;
  at('map').onchange = () => { layers(); redraw(); };
  at('layer').onchange = redraw;
}

async function redraw() {
  const options = { map: at('map').value, layer: at('layer').value };
  room('attention').style.opacity = 0.4;
  try {
    const found = await ask('attention', clip, options);
    if (options.map === at('map').value
        && options.layer === at('layer').value) drawAttention(found);
  } catch (error) {
    if (error.name === 'AbortError') return;
    room('attention').replaceChildren(text('p', error.message, 'note'));
  } finally {
    room('attention').style.opacity = 1;
  }
}

function drawAttention(found) {
  if (found.note) {
    room('attention').replaceChildren(text('p', found.note));
    return;
  }
  const figure = document.createElement('img');
  figure.src = found.figure;
  figure.alt = `${found.name}, layer ${found.layer}`;
  figure.onclick = () => figure.classList.toggle('full');
  room('attention').replaceChildren(figure, text('p',
    'Bright: more attention than the mean; “up to 2×” is the brightest '
    + 'place, 1× uniform attention. The least uniform link is shown first.',
    'small'));
}

function showExamples() {
  at('shelf').hidden = about.examples.length === 0;
  about.examples.forEach((name, number) => {
    const button = text('button', name);
    button.type = 'button';
    const thumbnail = document.createElement('video');
    Object.assign(thumbnail, {
      src: `examples/${number}#t=0.1`, muted: true, preload: 'metadata',
    });
    button.prepend(thumbnail);
    button.onclick = async () => {
      const answer = await fetch(`examples/${number}`);
      if (answer.ok) take(await answer.blob(), name);
      else complain(new Error(`${name}: the example is no longer there.`));
    };
    at('examples').append(button);
  });
}

function listen() {
  at('file').onchange = () => {
    const [file] = at('file').files;
    if (file) take(file, file.name);
    at('file').value = '';
  };
  at('player').onerror = () => {
    at('player').hidden = true;
    at('unplayable').hidden = !at('error').hidden;
  };
  at('record').onclick = async () => {
    try {
      const blob = await recordClip(at('record'), at('player'));
      if (blob) take(blob, 'recording');
    } catch (error) {
      complain(error);
    }
  };
  const drop = at('drop');
  drop.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add('over');
  };
  drop.ondragleave = () => drop.classList.remove('over');
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  };
}

about = await (await fetch('about')).json();
at('title').textContent = about.title;
at('limits').textContent = `${about.containers}; ` +
  `up to ${about.max_bytes / 1e6} MB and ${about.max_seconds} s. ` +
  'Clips are read on the machine that runs this page and not kept.';
showExamples();
listen();
