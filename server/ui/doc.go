// Package ui is the registry's pages: what a browser shows of the packs. It is HTML made on the server, works without script, and takes
// nothing from elsewhere.
//
//	registry.go   what the pages ask of the registry and of who looks at them, as small interfaces
//	ui.go         Options, New, and what happens to every request
//	routes.go     the table of pages
//	render.go     templates, the frame of every page, errors
//	assets.go     style sheet, script and icon
//	list.go pack.go values.go versions.go diff.go files.go parts.go about.go
//	              the pages
//
// Below it are packages that know nothing of HTTP: internal/readme makes safe HTML of Markdown, internal/source listings of YAML and
// JSON, internal/values applies presets and finds rules, internal/compare compares two texts.
//
// # How the server uses it
//
// Package server makes one Handler with New and sends it every request whose path begins with Options.Base. For each request the handler
// calls Options.Open, which says who looks (a Viewer) and what the registry shows to them (a Registry). The Registry decides about
// rights: what a viewer may not pull it reports as ErrNotFound, or as ErrLogin where a login might help. ErrLogin leads to the login page.
//
// Pages that belong to logins and actions are methods of Handler with a row in routes.go; they use render and renderError, so that the
// frame, the headers and the errors are the same on all pages.
//
// Everything that a pack says is hostile until it is escaped: html/template does that for text, internal/readme and internal/source for
// the HTML that they make, and they alone make template.HTML.
package ui
