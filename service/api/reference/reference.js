// The document of this service; a key that is typed in is forgotten with the page.
const answer = await fetch("/api/v1/openapi.json");
const spec = await answer.json();
for (const parameter of Object.values(spec.components.parameters)) {
  if (parameter.required) continue;
  // An example is shown, and not filled in: the form would send all of them at once.
  parameter.description += ` For example \`${[parameter.example].flat().join(",")}\`.`;
  delete parameter.example;
}
SwaggerUIBundle({
  spec,
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  persistAuthorization: false,
  showExtensions: true,
  validatorUrl: null,
});
