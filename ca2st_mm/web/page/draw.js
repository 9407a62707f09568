// Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
// Answers as elements.  Names go in as text, never as markup.

const COLOURS = ['#1b7f79', '#d9903d', '#4b6fae', '#8a93a1', '#c0504d',
  '#7a5195'];
// What rounds to nothing or to all of it is not said to be that.
function percent(share) {
  if (share > 0 && share < 0.0005) return '< 0.1 %';
  if (share < 1 && share >= 0.9995) return '> 99.9 %';
  return `${(100 * share).toFixed(1)} %`;
}
const seconds = (value) => value.toFixed(2);

export function text(tag, words, kind = '') {
  const element = document.createElement(tag);
  element.textContent = words;
  element.className = kind;
  return element;
}

function box(kind, ...children) {
  const element = text('div', '', kind);
  element.append(...children);
  return element;
}

function bar(name, share, { note = '', kind = '', best = false } = {}) {
  const label = text('div', name, best ? 'name best' : 'name');
  if (note) label.append(text('span', note));
  const filled = text('div', '', `bar ${kind}`);
  filled.style.width = `${100 * share}%`;
  return [label, box('room', filled),
    text('div', percent(share), best ? 'percent best' : 'percent')];
}

export function drawNames(room, found) {
  const parts = found.notes.map((note) => text('p', note, 'note'));
  const tasks = Object.entries(found.ranked);
  for (const [task, ranked] of tasks) {
    if (tasks.length > 1) parts.push(text('p', task, 'task'));
    parts.push(box('bars', ...ranked.flatMap(({ label, score }, place) => bar(
      label, score, { kind: place ? 'rest' : '', best: !place }))));
  }
  room.replaceChildren(...parts, ...drawUsed(found));
}

// Where in the file the frames and the audio are that the model was given.
function drawUsed({ views, start, end }) {
  const place = (second) => {
    const share = (second - start) / (end - start);
    return 100 * Math.min(Math.max(share, 0), 1);
  };
  const used = text('div', '', 'used');
  const lines = [];
  if (views.seconds) {
    const strip = text('div', '', 'strip');
    for (const second of views.seconds.flat()) {
      const mark = text('i', '');
      mark.style.left = `min(${place(second)}%, 100% - 2px)`;
      strip.append(mark);
    }
    used.append(text('span', 'frames'), strip);
    views.seconds.forEach((clip, number) => lines.push([
      views.seconds.length > 1 ? `frames, clip ${number + 1}` : 'frames',
      `${clip.map(seconds).join(' ')} s`]));
  } else if (views.frames) {
    lines.push(['frames', 'their times are unknown']);
  }
  if (views.audio) {
    const strip = text('div', '', 'strip');
    for (const [from, to] of views.audio) {
      const mark = text('i', '', 'audio');
      mark.style.left = `${place(from)}%`;
      mark.style.width = `${place(to) - place(from)}%`;
      strip.append(mark);
      lines.push(['audio', `${seconds(from)} to ${seconds(to)} s`]);
    }
    used.append(text('span', 'audio'), strip);
  }
  used.append(text('span', ''), drawAxis(start, end));
  const table = document.createElement('table');
  for (const [what, when] of lines) {
    const row = table.insertRow();
    row.append(text('td', what), text('td', when));
  }
  const more = document.createElement('details');
  more.append(text('summary', 'what the model was given, in seconds'), table);
  return [used, more];
}

function drawAxis(start, end) {
  return box('axis', text('span', `${seconds(start)} s`),
    text('span', `${seconds(end)} s`));
}

export function drawModalities(room, found) {
  if (found.note) {
    room.replaceChildren(text('p', found.note));
    return;
  }
  const parts = [];
  const tasks = Object.entries(found.tasks);
  for (const [task, { chosen, verdict, bars }] of tasks) {
    if (tasks.length > 1) parts.push(text('p', task, 'task'));
    parts.push(text('p', verdict), text('p',
      `Probability of “${chosen}” by part of the model:`, 'small'));
    parts.push(box('bars', ...bars.flatMap((one, place) => bar(
      one.part, one.score, {
        best: !place,
        kind: one.best === chosen ? '' : 'rest',
        note: one.best === chosen ? ''
          : `says ${one.best}, ${percent(one.best_score)}`,
      }))));
  }
  for (const [part, why] of Object.entries(found.unknown)) {
    parts.push(text('p', `${part}: unknown; ${why}`, 'small'));
  }
  room.replaceChildren(...parts);
}

export function drawTimeline(room, found, seek) {
  if (found.note) {
    room.replaceChildren(text('p', found.note));
    return;
  }
  const { spans } = found;
  const start = spans[0].start, end = spans.at(-1).end;
  const labels = [...new Set(spans.map((span) => span.label))]
    .filter((label) => label !== undefined);
  const strip = text('div', '', 'spans');
  for (const span of spans) {
    const block = text('button', '');
    block.type = 'button';
    block.title = `${seconds(span.start)} to ${seconds(span.end)} s: `
      + (span.reason ?? `${span.label}, ${percent(span.score)}`);
    block.style.left = `${100 * (span.start - start) / (end - start)}%`;
    block.style.width = `${100 * (span.end - span.start) / (end - start)}%`;
    block.style.height = span.reason ? '4px' : `${100 * span.score}%`;
    block.style.background = span.reason ? '#20242c'
      : COLOURS[labels.indexOf(span.label) % COLOURS.length];
    block.onclick = () => seek(span.start);
    strip.append(block);
  }
  const key = box('key', ...labels.map((label, number) => {
    const entry = text('span', '');
    const spot = text('i', '');
    spot.style.background = COLOURS[number % COLOURS.length];
    entry.append(spot, label);
    return entry;
  }));
  const table = document.createElement('table');
  for (const span of spans) {
    const row = table.insertRow();
    row.append(
      text('td', `${seconds(span.start)} to ${seconds(span.end)} s`),
      text('td', span.reason ?? span.label),
      text('td', span.reason ? '' : percent(span.score)));
  }
  const more = document.createElement('details');
  more.append(text('summary', `${spans.length} windows of `
    + `${seconds(found.window)} s; height is probability`), table);
  room.replaceChildren(strip, drawAxis(start, end), key, more);
}
