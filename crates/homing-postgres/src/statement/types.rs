//! PostgreSQL's types on the wire, for nodes without a replica that could look an OID up.

use std::sync::Arc;

use homing_proto::v1 as proto;
use homing_proto::v1::r#type::Kind as ProtoKind;
use tokio_postgres::types::{Field, Kind, Type};

use super::columns::{Column, Columns};

/// Describes a type to another node.
pub(crate) fn to_proto(ty: &Type) -> proto::Type {
    proto::Type { oid: ty.oid(), name: ty.name().to_owned(), schema: ty.schema().to_owned(), kind: kind_to_proto(ty) }
}

/// Describes a column to another node.
pub(crate) fn column_to_proto(name: &str, ty: &Type) -> proto::Column {
    proto::Column { name: name.to_owned(), r#type: Some(to_proto(ty)) }
}

/// Reads the type that another node described. `None` if the description is incomplete, or of a kind that this build does
/// not know.
pub(crate) fn from_proto(ty: proto::Type) -> Option<Type> {
    from_proto_within(ty, MAX_DEPTH)
}

/// Reads the column that another node described.
pub(crate) fn column_from_proto(column: proto::Column) -> Option<Column> {
    Some(Column::new(&column.name, from_proto(column.r#type?)?))
}

fn kind_to_proto(ty: &Type) -> Option<ProtoKind> {
    let nested = |ty: &Type| Box::new(to_proto(ty));
    // Both nodes know PostgreSQL's built-in types by their OIDs.
    if Type::from_oid(ty.oid()).is_some() {
        return None;
    }
    Some(match ty.kind() {
        Kind::Enum(variants) => ProtoKind::Enum(proto::r#type::Enum { variants: variants.clone() }),
        Kind::Pseudo => ProtoKind::Pseudo(proto::r#type::Pseudo {}),
        Kind::Array(element) => ProtoKind::ArrayOf(nested(element)),
        Kind::Range(element) => ProtoKind::RangeOf(nested(element)),
        Kind::Multirange(element) => ProtoKind::MultirangeOf(nested(element)),
        Kind::Domain(base) => ProtoKind::DomainOver(nested(base)),
        Kind::Composite(fields) => ProtoKind::Composite(proto::r#type::Composite {
            fields: fields.iter().map(|field| column_to_proto(field.name(), field.type_())).collect(),
        }),
        // `Simple`, and kinds of later versions. The values of both are opaque here.
        _ => ProtoKind::Simple(proto::r#type::Simple {}),
    })
}

fn from_proto_within(ty: proto::Type, depth: usize) -> Option<Type> {
    if let Some(known) = Type::from_oid(ty.oid) {
        return Some(known);
    }
    let depth = depth.checked_sub(1)?;
    let kind = match ty.kind? {
        ProtoKind::Simple(_) => Kind::Simple,
        ProtoKind::Enum(kind) => Kind::Enum(kind.variants),
        ProtoKind::Pseudo(_) => Kind::Pseudo,
        ProtoKind::ArrayOf(element) => Kind::Array(from_proto_within(*element, depth)?),
        ProtoKind::RangeOf(element) => Kind::Range(from_proto_within(*element, depth)?),
        ProtoKind::MultirangeOf(element) => Kind::Multirange(from_proto_within(*element, depth)?),
        ProtoKind::DomainOver(base) => Kind::Domain(from_proto_within(*base, depth)?),
        ProtoKind::Composite(composite) => Kind::Composite(fields(composite, depth)?),
    };
    Some(Type::new(ty.name, ty.oid, kind, ty.schema))
}

fn fields(composite: proto::r#type::Composite, depth: usize) -> Option<Vec<Field>> {
    let field = |column: proto::Column| {
        let ty = from_proto_within(column.r#type?, depth)?;
        Some(Field::new(column.name, ty))
    };
    composite.fields.into_iter().map(field).collect()
}

/// Returns whether a value of one type, in the binary format, is also a value of the other.
///
/// The values of a domain are those of its base type, which PostgreSQL reports as the type of its columns. `text` and
/// `varchar` differ only in name.
pub(crate) fn interchangeable(one: &Type, other: &Type) -> bool {
    let (one, other) = (base(one), base(other));
    let is_text = |ty: &Type| matches!(*ty, Type::TEXT | Type::VARCHAR);
    one.oid() == other.oid() || is_text(one) && is_text(other)
}

fn base(mut ty: &Type) -> &Type {
    while let Kind::Domain(base) = ty.kind() {
        ty = base;
    }
    ty
}

/// Returns the columns of a statement that was prepared on this node.
pub(crate) fn columns(columns: &[tokio_postgres::Column]) -> Arc<Columns> {
    Arc::new(columns.iter().map(|column| Column::new(column.name(), column.type_().clone())).collect())
}

/// How deep arrays, domains and composites may be nested in a type; deeper types cannot be read. PostgreSQL has no limit.
/// Real types stay far below this one, which keeps a hostile description from exhausting the stack.
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn custom() -> Type {
        let mood = Type::new("mood".into(), 90_001, Kind::Enum(vec!["sad".into(), "happy".into()]), "public".into());
        let fields = vec![
            Field::new("name".into(), Type::TEXT),
            Field::new("moods".into(), Type::new("_mood".into(), 90_002, Kind::Array(mood), "public".into())),
        ];
        Type::new("person".into(), 90_003, Kind::Composite(fields), "public".into())
    }

    #[test]
    fn types_survive_the_wire() {
        for ty in [Type::INT4, Type::TEXT_ARRAY, custom()] {
            assert_eq!(from_proto(to_proto(&ty)), Some(ty));
        }
    }

    #[test]
    fn domain_is_interchangeable_with_its_base() {
        let email = Type::new("email".into(), 90_010, Kind::Domain(Type::VARCHAR), "public".into());
        for (one, other, expected) in [
            (&Type::INT8, &Type::INT8, true),
            (&Type::INT8, &Type::INT4, false),
            (&email, &Type::VARCHAR, true),
            (&Type::TEXT, &email, true),
            (&Type::TEXT, &Type::BPCHAR, false),
        ] {
            assert_eq!(interchangeable(one, other), expected, "{one} {other}");
            assert_eq!(interchangeable(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn endless_description_is_refused() {
        let mut ty = to_proto(&custom());
        for oid in 100_000..100_100 {
            ty = proto::Type {
                oid,
                name: "nested".into(),
                schema: "public".into(),
                kind: Some(ProtoKind::ArrayOf(Box::new(ty))),
            };
        }
        assert_eq!(from_proto(ty), None);
    }
}
