// Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
// Shows openapi.json: what can be asked, and how.
import { text } from './draw.js';

const api = await (await fetch('openapi.json')).json();

// What a reference names.
function found(item) {
  if (!item.$ref) return item;
  return item.$ref.split('/').slice(1).reduce((at, key) => at[key], api);
}

function example(method, path, parameters) {
  const options = parameters.filter((one) => one.schema.default !== undefined)
    .map((one) => `${one.name}=${one.schema.default}`).join('&');
  const url = new URL(`.${path.replace('{number}', 0)}`, location);
  url.search = options;
  const body = method === 'post' ? '-H "Content-Type: application/octet-stream"'
    + ' --data-binary @clip.mp4 ' : '';
  return `curl ${body}"${url}"`;
}

function fields(schema) {
  const { properties = {} } = found(schema);
  return Object.entries(properties).map(([key, value]) => (
    value.description ? `${key} (${value.description})` : key)).join(', ');
}

document.getElementById('description').textContent = api.info.description;
document.getElementById('errors').textContent =
  api.components.responses.error.description;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, { summary, ...call }] of Object.entries(methods)) {
    const parameters = (call.parameters ?? []).map(found);
    const card = document.createElement('article');
    card.append(text('h2', `${method.toUpperCase()} ${path}`),
      text('p', `${summary}.`), text('pre', example(method, path, parameters)));
    for (const { name, description = '' } of parameters) {
      card.append(text('p', `${name}: ${description}`, 'small'));
    }
    const schema = call.responses['200'].content['application/json']?.schema;
    for (const one of schema?.oneOf ?? [schema ?? {}]) {
      if (fields(one)) card.append(text('p', `→ ${fields(one)}`, 'small'));
    }
    document.getElementById('paths').append(card);
  }
}
