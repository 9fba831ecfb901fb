// What outlives a reload: the key, in this tab alone, and what is asked for, in the address's fragment.
// A fragment is never sent. A key that arrives in one is taken out of it at once.

const KEY = "activity-key";
const NAMES = ["lead", "types", "from", "to", "mode"];

export const getKey = () => sessionStorage.getItem(KEY);
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** What the fragment asks for. */
export function readAsked() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("key")) {
    setKey(fragment.get("key"));
    fragment.delete("key");
    replaceFragment(fragment);
  }
  const asked = Object.fromEntries(NAMES.map((name) => [name, fragment.get(name) ?? ""]));
  return { ...asked, mode: fragment.get("mode") ?? "only", types: asked.types.split(",").filter(Boolean) };
}

/** Keep what is asked for, so that a reload and a copied address show the same. */
export function writeAsked(asked) {
  const fragment = new URLSearchParams();
  for (const name of NAMES) {
    const text = String(asked[name]);
    if (name === "mode" ? text !== "only" : text) fragment.set(name, text);
  }
  replaceFragment(fragment);
}

function replaceFragment(fragment) {
  const text = fragment.toString();
  history.replaceState(null, "", location.pathname + (text && `#${text}`));
}
