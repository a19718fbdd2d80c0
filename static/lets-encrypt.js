// The form of Let's Encrypt: fields for another directory only where one is chosen, and the person's own name in the
// warnings as it is typed. Without this script every field is shown, and the server fills in the name.
(() => {
  const directory = document.getElementById("id_directory");
  const other = document.querySelector("[data-other]");
  const names = document.getElementById("id_dns_names");
  const shown = document.querySelectorAll("[data-name]");
  const fallback = shown.length ? shown[0].textContent : "";

  const choose = () => { other.hidden = directory.value !== other.dataset.other; };
  const name = () => {
    const first = names.value.split(/[\s,]+/).find(Boolean) || fallback;
    for (const place of shown) place.textContent = first;
  };
  directory.addEventListener("change", choose);
  names.addEventListener("input", name);
  choose();
  name();
})();
