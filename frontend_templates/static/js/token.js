// The CSRF token of a session that began after this page was loaded.

/** Fetches the CSRF token of the present session; false when nobody, or somebody else, is logged in. */
export async function renewToken() {
  const response = await fetch("/api/v1/me", { headers: { accept: "application/json" }, credentials: "same-origin" });
  const me = response.ok ? await response.json() : {};
  const { person } = document.body.dataset;
  const token = !person || String(me.id) === person ? me.csrf_token : null;
  if (token) document.querySelector('meta[name="csrf-token"]').content = token;
  return Boolean(token);
}
