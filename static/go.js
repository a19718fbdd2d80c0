// Takes the whole window to another address of this portal: a form may not be answered by a redirect to another
// origin (form-action 'self'), so the page names the address and this script goes there. The link works without it.
(() => {
  const link = document.querySelector("a[data-go]");
  if (link) window.location.assign(link.href);
})();
