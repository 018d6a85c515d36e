// The page's assets: gzip in base64, one script element each.

/** The bytes of an asset. */
export async function bytes(name) {
  const holder = document.getElementById(`asset-${name}`);
  const packed = fromBase64(holder.textContent);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The text of an asset. */
export async function text(name) {
  return new TextDecoder().decode(await bytes(name));
}

/** The JSON of an asset, parsed once: models that share a catalogue share the object. */
export function json(name) {
  if (!parsed.has(name)) parsed.set(name, text(name).then(JSON.parse));
  return parsed.get(name);
}

const parsed = new Map();

function fromBase64(encoded) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(encoded);
  const characters = atob(encoded);
  const decoded = new Uint8Array(characters.length);
  for (let i = 0; i < characters.length; i++) decoded[i] = characters.charCodeAt(i);
  return decoded;
}
