// Files dropped anywhere on the page land in its file field; what is chosen is listed with its size. Without this script
// the field itself does the same.
(() => {
  const zone = document.querySelector("[data-drop]");
  const field = zone?.querySelector("input[type=file]");
  const list = zone?.querySelector("[data-dropped]");
  if (!field || !list) return;
  zone.classList.add("drop-ready");
  const size = (bytes) => (bytes < 1024 ? `${bytes} bytes` : `${Math.round(bytes / 1024)} KiB`);
  const show = () => {
    list.replaceChildren(
      ...[...field.files].map((file) => {
        const line = document.createElement("li");
        line.textContent = `${file.name}, ${size(file.size)}`;
        return line;
      }),
    );
  };
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0; // dragenter and dragleave come for each element that is passed
  const over = (on) => zone.classList.toggle("drop-over", on);
  document.addEventListener("dragenter", (event) => holdsFiles(event) && over(++depth > 0));
  document.addEventListener("dragleave", (event) => holdsFiles(event) && over(--depth > 0));
  document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over((depth = 0) > 0);
    const all = new DataTransfer();
    for (const file of [...field.files, ...event.dataTransfer.files]) all.items.add(file);
    field.files = all.files;
    show();
  });
  field.addEventListener("change", show);
  show();
})();
